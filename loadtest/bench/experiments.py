"""The experiments behind the figures. Each is a command of the load test, so anybody can repeat it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType

from delegator.dev.temporal_postgres import TemporalPrograms
from delegator.errors import ConfigurationError

ROUNDS = "{rounds}"
"""Placeholder in a command for the number of rounds."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One command and what it is for."""

    name: str
    """As given to `--only`; its numbers are in `<name>.json`."""
    command: str
    """Arguments of `python -m loadtest`, without `--json`."""
    lacking: Callable[[], str | None] = lambda: None
    """Returns what this machine lacks for it; None: nothing."""

    @property
    def compares_arms(self) -> bool:
        """Whether the command runs workflows, so that it can count SQL statements."""
        return self.command.startswith("compare ")

    def arguments(self, rounds: int, *, statements: bool = False) -> list[str]:
        """Return the command's arguments.

        Args:
            rounds: runs of each arm.
            statements: whether SQL statements are counted, if the command can.
        """
        counting = ["--statements"] if statements and self.compares_arms else []
        return self.command.replace(ROUNDS, str(rounds)).split() + counting


def _lacks_peers() -> str | None:
    return None if find_spec("pgqueuer") and find_spec("procrastinate") else "pip install 'temporal-delegator[peers]'"


def _lacks_temporal() -> str | None:
    try:
        TemporalPrograms.find()
    except ConfigurationError:
        return "make temporal-postgres"
    return None


_ARMS = "--arms classic,floor,local,drop-in,delegated --rounds {rounds}"
_PAIR = "--arms classic,delegated --rounds {rounds}"
# Runs before the long one and after it, because the machine may become slower meanwhile.
_SMALL_BACKLOG = "bulk --backlog --jobs 10000 --no-bare --rounds {rounds}"

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        experiment.name: experiment
        for experiment in (
            Experiment("single", f"compare --scenario single --workflows 450 --concurrency 150 {_ARMS}"),
            Experiment(
                "one",
                "compare --scenario single --workflows 60 --concurrency 1"
                " --arms classic,drop-in,delegated --rounds {rounds}",
            ),
            Experiment(
                "sequence",
                "compare --scenario sequence --workflows 150 --jobs 5 --concurrency 50"
                " --arms classic,local,drop-in,delegated --rounds {rounds}",
            ),
            Experiment(
                "fanout",
                "compare --scenario fanout --workflows 10 --jobs 200 --concurrency 10"
                " --arms classic,floor,delegated --rounds {rounds}",
            ),
            # Ten workflows end within half a second. Small differences, and what the server does by itself now and
            # then, need more of them.
            Experiment(
                "fanout-long",
                "compare --scenario fanout --workflows 40 --jobs 200 --concurrency 10"
                " --arms classic,drop-in,gathered,delegated --rounds {rounds}",
            ),
            Experiment(
                "ten-thousand",
                "compare --scenario fanout --workflows 1 --jobs 10000 --concurrency 1"
                " --arms delegated,drop-in,gathered --rounds {rounds}",
            ),
            Experiment(
                "single-postgres",
                f"compare --temporal postgres --scenario single --workflows 400 --concurrency 150 {_PAIR}",
                _lacks_temporal,
            ),
            Experiment(
                "fanout-postgres",
                f"compare --temporal postgres --scenario fanout --workflows 10 --jobs 200 --concurrency 10 {_PAIR}",
                _lacks_temporal,
            ),
            Experiment("bulk", "bulk --jobs 50000 --rounds {rounds}"),
            Experiment("peers", "peers --queues pgqueuer --scenarios bulk --rounds {rounds}", _lacks_peers),
            Experiment("steady", "bulk --rate 100 --duration 20 --rounds {rounds}"),
            Experiment("backlog-before", _SMALL_BACKLOG),
            Experiment("backlog", "bulk --backlog --jobs 1000000 --no-bare --rounds 1"),
            Experiment("backlog-after", _SMALL_BACKLOG),
            # With the JSON around them, 38 bytes are a payload of 100.
            Experiment(
                "signal",
                "compare --scenario fanout --workflows 10 --jobs 500 --concurrency 10 --payload-bytes 38"
                " --arms signalled --rounds {rounds}",
            ),
            Experiment("idle", "idle --seconds 30"),
        )
    }
)
"""All experiments, in the order in which they run."""
