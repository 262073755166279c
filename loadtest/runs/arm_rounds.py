"""Run several arms in turn on the same load, round after round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from delegator.errors import ConfigurationError
from loadtest.arms import arm_named
from loadtest.progress import Progress
from loadtest.results.comparison import Comparison
from loadtest.results.run_result import RunResult
from loadtest.runs.arm_run import run
from loadtest.runs.plan import Plan
from loadtest.servers.stack import Servers


def arms_listed(text: str) -> list[str]:
    """Read a comma-separated list of arms.

    Raises:
        ConfigurationError: an unknown arm, or one named twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) != len(names):
        raise ConfigurationError("--arms: name each arm once, and at least one")
    return [arm_named(name).name for name in names]


async def compare(arms: Sequence[str], plan: Plan, rounds: int, servers: Servers, progress: Progress) -> Comparison:
    """Run arms in turn; the first one is the baseline.

    Args:
        arms: their names.
        plan: what each arm runs; the arm in it is ignored.
        rounds: number of rounds.
        servers: where they run.
        progress: gets reports of the runs.

    Raises:
        DelegatorError: as for `run`.
    """
    plans = {arm: replace(plan, arm=arm) for arm in arms}
    for candidate in plans.values():
        candidate.check()
    runs: dict[str, list[RunResult]] = {arm: [] for arm in arms}
    for number in range(rounds):
        # Each round begins with another arm, so that what a run leaves behind does not always slow the same one.
        shift = number % len(arms)
        for arm in [*arms[shift:], *arms[:shift]]:
            runs[arm].append(await run(plans[arm], servers, progress))
    return Comparison(plan.scenario, rounds, runs)
