"""Several arms on the same load, in turn, round after round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from delegator.errors import ConfigurationError
from loadtest.arms import arm_named
from loadtest.comparison import Comparison
from loadtest.measure import RunResult
from loadtest.plan import Plan
from loadtest.progress import Progress
from loadtest.runner import run
from loadtest.stack import Servers


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
    """Run arms in turn, the first being the baseline.

    Args:
        arms: their names.
        plan: what each runs; its own arm does not count.
        rounds: how often.
        servers: where.
        progress: told how it goes.

    Raises:
        DelegatorError: as for `run`.
    """
    plans = {arm: replace(plan, arm=arm) for arm in arms}
    for candidate in plans.values():
        candidate.check()
    runs: dict[str, list[RunResult]] = {arm: [] for arm in arms}
    for number in range(rounds):
        # Each round begins with another arm: what a run leaves behind must not always hit the same one.
        shift = number % len(arms)
        for arm in [*arms[shift:], *arms[:shift]]:
            runs[arm].append(await run(plans[arm], servers, progress))
    return Comparison(plan.scenario, rounds, runs)
