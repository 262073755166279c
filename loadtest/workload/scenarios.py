"""The scenarios: what a workflow does, how workflows arrive, and how many by default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from delegator.errors import ConfigurationError
from loadtest.workload.options import OPTION_NAMES, Options, option_flag


class Pattern(StrEnum):
    """How a workflow makes its calls."""

    AT_ONCE = "at-once"
    """All jobs in flight together; the workflow waits for the last."""
    IN_TURN = "in-turn"
    """A job begins when the one before it is done."""


class Arrival(StrEnum):
    """When workflows are started."""

    CLOSED = "closed"
    """A fixed number is in flight: one starts when another ends."""
    BURSTS = "bursts"
    """All of a burst at once; the next burst when the last one is done."""
    OPEN = "open"
    """At a fixed rate, whether earlier ones are done or not."""
    BACKLOG = "backlog"
    """All at once while no job worker runs; then the job workers start."""


_FLAGS: Mapping[Arrival, tuple[str, ...]] = MappingProxyType(
    {
        Arrival.CLOSED: ("workflows", "jobs", "concurrency"),
        Arrival.BURSTS: ("workflows", "jobs"),
        Arrival.OPEN: ("rate", "duration", "jobs"),
        Arrival.BACKLOG: ("workflows", "jobs"),
    }
)


@dataclass(frozen=True, slots=True)
class Load:
    """How much work a run does."""

    workflows: int
    """Workflows in the measured window."""
    jobs: int
    """Jobs of each workflow."""
    concurrency: int | None
    """Workflows in flight at any time; None: no limit."""
    rate: float | None = None
    """Jobs that should begin in a second; None: as fast as possible."""
    duration: float | None = None
    """Seconds for which workflows are started at the rate."""

    def __post_init__(self) -> None:
        """Refuse what can't be run.

        Raises:
            ConfigurationError: a number is not positive.
        """
        for option in ("rate", "duration"):
            value = getattr(self, option)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigurationError(f"--{option} must be positive, not {value:g}")
        for option in ("workflows", "jobs", "concurrency"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise ConfigurationError(f"--{option} must be at least 1, not {value}")

    @property
    def workflow_rate(self) -> float | None:
        """Workflows that should be started in a second."""
        return None if self.rate is None else self.rate / self.jobs


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario."""

    name: str
    """As given to `--scenario`."""
    pattern: Pattern
    """How a workflow makes its calls."""
    compared: Load
    """Default load of `compare`, for every arm."""
    arrival: Arrival = Arrival.CLOSED
    """When workflows are started."""
    reference: Mapping[str, Load] = field(default_factory=dict)
    """Default load of `run` for an arm, if it differs from `compared`."""
    most_jobs: int | None = None
    """Most jobs of a workflow; None: no limit."""
    takes: tuple[str, ...] = ("payload_bytes",)
    """Names of the options that the scenario has."""
    defaults: Options = Options()  # noqa: RUF009  (frozen)
    """Default values of the options."""

    def load(
        self,
        arm: str | None = None,
        *,
        workflows: int | None = None,
        jobs: int | None = None,
        concurrency: int | None = None,
        rate: float | None = None,
        duration: float | None = None,
    ) -> Load:
        """Return the load of a run.

        Args:
            arm: the arm whose reference run gives the defaults; None: those of `compare`.
            workflows: as in `Load`, like the others; None: the default.
            jobs: jobs of each workflow.
            concurrency: workflows in flight.
            rate: jobs in a second.
            duration: seconds.

        Raises:
            ConfigurationError: a number is not positive, or does not fit the scenario.
        """
        given = {"workflows": workflows, "jobs": jobs, "concurrency": concurrency, "rate": rate, "duration": duration}
        chosen = {name: value for name, value in given.items() if value is not None}
        if strange := [name for name in chosen if name not in _FLAGS[self.arrival]]:
            raise ConfigurationError(
                f"{option_flag(strange[0])} does not fit the scenario {self.name}, which is shaped by "
                + ", ".join(map(option_flag, _FLAGS[self.arrival]))
            )
        default = self.reference.get(arm, self.compared) if arm else self.compared
        load = replace(default, **chosen)  # type: ignore[arg-type]
        if self.most_jobs is not None and load.jobs > self.most_jobs:
            raise ConfigurationError(f"--jobs: scenario {self.name} has {self.most_jobs} job a workflow; try fanout")
        if load.rate is not None and load.duration is not None:
            return replace(load, workflows=max(1, math.floor(load.rate * load.duration / load.jobs)))
        return load

    def options(self, **given: Any) -> Options:
        """Return the options of a run.

        Args:
            given: fields of `Options`; None: the default.

        Raises:
            ConfigurationError: an option is out of range or does not fit the scenario.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        for name in chosen:
            if name not in self.takes:
                fitting = [scenario.name for scenario in SCENARIOS.values() if name in scenario.takes]
                raise ConfigurationError(
                    f"{option_flag(name)} does not fit the scenario {self.name}, but {' and '.join(fitting)}"
                )
        return replace(self.defaults, **chosen)

    def check(self, load: Load, options: Options) -> None:
        """Refuse a load and options that do not fit together.

        Raises:
            ConfigurationError: they do not fit.
        """
        if options.bursts > load.workflows:
            raise ConfigurationError(f"--bursts {options.bursts}: there are only {load.workflows} --workflows to start")

    def settings(self, load: Load, options: Options) -> dict[str, Any]:
        """Return what shapes a run of this scenario, by the names of the command line."""
        return {name: getattr(load, name) for name in _FLAGS[self.arrival]} | {
            name: getattr(options, name) for name in OPTION_NAMES if name in self.takes
        }


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
            ),
            Scenario(
                name="sequence",
                pattern=Pattern.IN_TURN,
                compared=Load(workflows=300, jobs=5, concurrency=50),
            ),
            Scenario(
                name="sleep",
                pattern=Pattern.AT_ONCE,
                compared=Load(workflows=50, jobs=20, concurrency=10),
                takes=("payload_bytes", "sleep_ms"),
                defaults=Options(sleep_ms=200, slow_percent=100),
            ),
            Scenario(
                name="burst",
                pattern=Pattern.IN_TURN,
                arrival=Arrival.BURSTS,
                compared=Load(workflows=900, jobs=1, concurrency=None),
                takes=("payload_bytes", "bursts", "pause"),
                defaults=Options(bursts=3, pause=2.0),
            ),
            Scenario(
                name="steady",
                pattern=Pattern.IN_TURN,
                arrival=Arrival.OPEN,
                compared=Load(workflows=600, jobs=1, concurrency=None, rate=20, duration=30),
            ),
            Scenario(
                name="backlog",
                pattern=Pattern.AT_ONCE,
                arrival=Arrival.BACKLOG,
                compared=Load(workflows=10, jobs=500, concurrency=None),
            ),
            Scenario(
                name="mixed",
                pattern=Pattern.AT_ONCE,
                compared=Load(workflows=100, jobs=20, concurrency=20),
                takes=(
                    *("payload_bytes", "sleep_ms", "slow_percent"),
                    *("large_bytes", "large_percent", "failing_percent"),
                ),
                defaults=Options(
                    sleep_ms=200, slow_percent=10, large_bytes=32_768, large_percent=10, failing_percent=5
                ),
            ),
        )
    }
)


def scenario_named(name: str) -> Scenario:
    """Return a scenario.

    Raises:
        ConfigurationError: no scenario has that name.
    """
    try:
        return SCENARIOS[name]
    except KeyError:
        raise ConfigurationError(f"--scenario: {name!r} is none of {', '.join(SCENARIOS)}") from None
