"""What to run: an arm, a scenario, a load."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from loadtest.arms import arm_named
from loadtest.workload.jobs import Work, work_of
from loadtest.workload.options import Options
from loadtest.workload.scenarios import Load, Scenario, scenario_named


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of one arm."""

    arm: str
    """Name of the arm."""
    scenario: str
    """Name of the scenario."""
    load: Load
    """How much work."""
    timeout: timedelta = timedelta(minutes=5)
    """A workflow that takes longer has failed."""
    options: Options | None = None
    """The options of the scenario; None: its defaults."""

    @property
    def kind(self) -> Scenario:
        """The scenario."""
        return scenario_named(self.scenario)

    @property
    def choices(self) -> Options:
        """The options: given ones, or the defaults."""
        return self.kind.defaults if self.options is None else self.options

    def check(self) -> None:
        """Refuse what can't be run.

        Raises:
            ConfigurationError: the load, the options and the arm do not fit together.
        """
        self.kind.check(self.load, self.choices)
        arm_named(self.arm).check(self.kind, self.load, self.choices)

    def works(self, count: int, jobs: int, start: int = 0) -> list[Work]:
        """Return inputs of workflows.

        Args:
            count: how many.
            jobs: jobs of each.
            start: number of the first.
        """
        pattern, shape = self.kind.pattern, self.choices.shape
        return [work_of(start + number, jobs, pattern, shape) for number in range(count)]
