"""What one workflow does, and how much of it a run asks for unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from delegator.errors import ConfigurationError


class Pattern(StrEnum):
    """How a workflow makes its calls."""

    AT_ONCE = "at-once"
    """All jobs in flight together; the workflow waits for the last."""
    IN_TURN = "in-turn"
    """A job begins when the one before it is done."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much work a run does."""

    workflows: int
    """Workflows in the measured window."""
    jobs: int
    """Jobs of each workflow."""
    concurrency: int
    """Workflows in flight at any time."""

    def __post_init__(self) -> None:
        """Refuse what can't be run.

        Raises:
            ConfigurationError: a number is not positive.
        """
        for option in ("workflows", "jobs", "concurrency"):
            value = getattr(self, option)
            if value < 1:
                raise ConfigurationError(f"--{option} must be at least 1, not {value}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of workflow."""

    name: str
    """As given to `--scenario`."""
    pattern: Pattern
    """How a workflow makes its calls."""
    compared: Load
    """What `compare` asks of every arm."""
    reference: Mapping[str, Load]
    """What `run` asks of an arm, where that differs from `compared`."""
    most_jobs: int | None = None
    """Most jobs of a workflow; None: no limit."""

    def load(
        self,
        arm: str | None = None,
        *,
        workflows: int | None = None,
        jobs: int | None = None,
        concurrency: int | None = None,
    ) -> Load:
        """Return the load of a run.

        Args:
            arm: the arm whose reference run gives the defaults; None: those of `compare`.
            workflows: as in `Load`; None: the default.
            jobs: as in `Load`; None: the default.
            concurrency: as in `Load`; None: the default.

        Raises:
            ConfigurationError: a number is not positive, or the scenario can't have it.
        """
        default = self.reference.get(arm, self.compared) if arm else self.compared
        load = Load(
            workflows=default.workflows if workflows is None else workflows,
            jobs=default.jobs if jobs is None else jobs,
            concurrency=default.concurrency if concurrency is None else concurrency,
        )
        if self.most_jobs is not None and load.jobs > self.most_jobs:
            raise ConfigurationError(f"--jobs: scenario {self.name} has {self.most_jobs} job a workflow; try fanout")
        return load


_CLASSIC_REFERENCE = Load(workflows=1_000, jobs=1, concurrency=50)
_DELEGATED_REFERENCE = Load(workflows=3_000, jobs=1, concurrency=150)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (
            Scenario(
                name="single",
                pattern=Pattern.IN_TURN,
                compared=Load(workflows=1_000, jobs=1, concurrency=150),
                reference=MappingProxyType(
                    {
                        "floor": _CLASSIC_REFERENCE,
                        "classic": _CLASSIC_REFERENCE,
                        "standalone": _CLASSIC_REFERENCE,
                        "delegated": _DELEGATED_REFERENCE,
                        "drop-in": _DELEGATED_REFERENCE,
                    }
                ),
                most_jobs=1,
            ),
            Scenario(
                name="fanout",
                pattern=Pattern.AT_ONCE,
                compared=Load(workflows=10, jobs=200, concurrency=10),
                reference=MappingProxyType({}),
            ),
            Scenario(
                name="sequence",
                pattern=Pattern.IN_TURN,
                compared=Load(workflows=300, jobs=5, concurrency=50),
                reference=MappingProxyType({}),
            ),
        )
    }
)


def scenario_named(name: str) -> Scenario:
    """Return a scenario.

    Raises:
        ConfigurationError: there is none of that name.
    """
    try:
        return SCENARIOS[name]
    except KeyError:
        raise ConfigurationError(f"--scenario: {name!r} is none of {', '.join(SCENARIOS)}") from None
