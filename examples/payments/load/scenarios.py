"""The ten scenarios: the load, the disturbance, and what must hold beside the invariants."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from examples.open_loop import Check, Measured, no_slope, quantile, seconds_of
from examples.payments.contracts import Times
from examples.payments.load.run import Run

Steps = tuple[tuple[float, float], ...]
Checks = Callable[[Measured, Steps], list[Check]]
RICH = 10**12


@dataclass(frozen=True)
class Scenario:
    """A load with its disturbance."""

    steps: Steps
    """Payments in a second, and for how many seconds."""
    checks: Checks
    """What must hold."""
    disturb: Callable[[Run, float], Coroutine[Any, Any, None]] | None = None
    """Runs beside the load, which takes that many seconds."""
    accounts: int = 50
    """Accounts that pay in turns."""
    is_poor: Callable[[int], bool] = lambda number: False
    """Whether the account with this number has no money, so that its payments end at the validation."""
    times: Times = field(default_factory=Times)
    """How long payments wait."""
    only_half: bool = False
    """The accounts have money for half of the payments."""


def all_fast(measured: Measured, steps: Steps) -> list[Check]:
    """Every payment is quick."""
    return [Check(f"p95 {seconds_of(measured.seen):.2f} s < 2 s", seconds_of(measured.seen) < 2)]


def is_steady(measured: Measured, steps: Steps) -> list[Check]:
    """The generator keeps its times, and the latency does not grow."""
    ordered = sorted(measured.seen, key=lambda one: one.intended)
    lag, third = quantile((one.lag for one in ordered), 99), max(1, len(ordered) // 3)
    first, last = seconds_of(ordered[:third], 50), seconds_of(ordered[-third:], 50)
    return [
        Check(f"the generator's lag, p99 {lag * 1000:.0f} ms < 50 ms", lag < 0.05),
        Check(f"median of the last third {last:.2f} s <= 1.5 x the first's {first:.2f} s", last <= 1.5 * first),
    ]


def highest_step(measured: Measured, steps: Steps) -> list[Check]:
    """Report the highest rate whose p95 holds; below it nothing fails."""
    ends = list(accumulate(seconds for _, seconds in steps))
    held = 0.0
    for (rate, seconds), end in zip(steps, ends, strict=True):
        seen = measured.between(end - seconds, end)
        failed = [one for one in seen if measured.states[one.key]["status"] != "success"]
        measured.notes.append(f"{rate:g}/s: p95 {seconds_of(seen):.2f} s, {len(failed)} failed")
        if seconds_of(seen) >= 2 or failed:
            break
        held = rate
    return [Check(f"the p95 holds up to {held:g}/s without a failure", held > 0)]


def comes_back(measured: Measured, steps: Steps) -> list[Check]:
    """After the peak the latency is that before it again; how long it takes is reported."""
    peak = steps[0][1] + steps[1][1]
    base, end = seconds_of(measured.between(0, steps[0][1])), sum(seconds for _, seconds in steps)
    for second in range(int(peak), int(end)):
        window = measured.between(second, second + 3)
        if window and seconds_of(window) <= max(1.5 * base, 0.5):
            return [Check(f"back to 1.5 x the base's p95 ({base:.2f} s) {second - peak:.0f} s after the peak", True)]
    return [Check(f"back to 1.5 x the base's p95 ({base:.2f} s) before the end", False)]


def drained(measured: Measured, steps: Steps) -> list[Check]:
    """Nothing is lost; how long it takes until what waited is done is reported."""
    mended = measured.marks["mended"]
    waited = [one.ended for one in measured.seen if one.intended < mended]
    return [
        Check(f"what waited was done {max(waited, default=mended) - mended:.1f} s after the provider was mended", True),
        Check("every payment succeeded", set(measured.statuses) == {"success"}),
    ]


def others_unchanged(measured: Measured, steps: Steps) -> list[Check]:
    """Payments that never reach the slow provider are as quick as before."""
    slow = measured.marks["slow"]
    poor = [one for one in measured.seen if measured.states[one.key]["reason"] == "insufficient funds"]
    before = seconds_of([one for one in poor if one.intended < slow], 50)
    after = seconds_of([one for one in poor if one.intended >= slow], 50)
    what = f"payments refused at once: median {after:.2f} s, before the provider was slow {before:.2f} s"
    return [Check(what, bool(poor) and after <= 1.5 * before + 0.1)]


def right_outcomes(measured: Measured, steps: Steps) -> list[Check]:
    """Only payments without a callback fail."""
    reasons = {str(state["reason"]) for state in measured.states.values() if state["status"] == "fail"}
    share = measured.statuses["fail"] / max(1, len(measured.states))
    return [
        Check(f"{share:.0%} failed, all without a callback", reasons <= {"the provider did not call back in time"}),
        Check("some failed, most succeeded", 0 < share < 0.3),
    ]


def exactly_half(measured: Measured, steps: Steps) -> list[Check]:
    """Exactly as many payments succeed as the account has money for."""
    expected = len(measured.seen) // 2
    return [Check(f"{measured.statuses['success']} succeeded of {expected}", measured.statuses["success"] == expected)]


def all_final(measured: Measured, steps: Steps) -> list[Check]:
    """The invariants are all that is asked for; refused requests were repeated."""
    measured.notes.append(f"{sum(one.refusals for one in measured.seen)} requests were refused and repeated")
    return [Check("every payment succeeded", set(measured.statuses) == {"success"})]


def no_growth(measured: Measured, steps: Steps) -> list[Check]:
    """Nothing grows."""
    slacks = {"memory (MB)": 40, "dead tuples": 20_000, "open payments": 30}
    return [no_slope(measured.samples, name, slack) for name, slack in slacks.items()]


async def outage(run: Run, seconds: float) -> None:
    """Let the provider answer 503 for a third of the run, then refuse connections for a ninth."""
    await asyncio.sleep(seconds / 6)
    await run.system.provider(mode="error")
    await asyncio.sleep(seconds / 3)
    await run.system.provider(mode="refuse")
    await asyncio.sleep(seconds / 9)
    await run.system.provider(mode="up")
    run.measured.marks["mended"] = run.now


async def slow(run: Run, seconds: float) -> None:
    """After a third of the run let the provider take 2 to 8 seconds."""
    await asyncio.sleep(seconds / 3)
    run.measured.marks["slow"] = run.now
    await run.system.provider(delay=[2, 4.5])


async def odd_callbacks(run: Run, seconds: float) -> None:
    """Repeat callbacks, lose some, and send some too early."""
    await run.system.provider(repeats=[1, 5], silent_share=0.1, early_share=0.05)


async def crash(run: Run, seconds: float) -> None:
    """Every seven seconds kill something with SIGKILL, and start it again; restart PostgreSQL once."""
    victims: Sequence[str] = ("account", "worker", "relay", "gateway", "postgres", "serve", "fraud", "notification")
    for number in range(int(seconds // 7)):
        await asyncio.sleep(7)
        await _strike(run, victims[number % len(victims)])


async def mild(run: Run, seconds: float) -> None:
    """Mix the disturbances, with long pauses. The last minute is quiet."""
    for victim in itertools.cycle(("gateway", "relay", "account", "worker", "serve")):
        if run.now > seconds - 60:
            return
        await asyncio.sleep(random.uniform(10, 20))
        await run.system.provider(mode="error")
        await asyncio.sleep(3)
        await run.system.provider(mode="up", repeats=[1, 3])
        await asyncio.sleep(random.uniform(5, 10))
        await _strike(run, victim)


async def _strike(run: Run, victim: str) -> None:
    stack = run.system.stack
    if (program := run.system.programs.get(victim)) is not None:
        await program.restart()
    elif stack is not None and victim == "postgres":
        await stack.restart(victim)
    elif stack is not None:
        await stack.kill(victim)
        await stack.start(victim)


_RAMP: Steps = tuple((float(rate), 15.0) for rate in range(5, 81, 15))
SCENARIOS = {
    "smoke": Scenario(((2, 10),), all_fast),
    "steady": Scenario(((20, 60),), is_steady),
    "ramp": Scenario(_RAMP, highest_step),
    "spike": Scenario(((5, 20), (150, 10), (5, 120)), comes_back),
    "outage": Scenario(((15, 90),), drained, outage),
    "slow": Scenario(((10, 60),), others_unchanged, slow, is_poor=lambda number: number % 5 == 0),
    "callbacks": Scenario(((15, 60),), right_outcomes, odd_callbacks, times=Times(callback_timeout=15)),
    "hot": Scenario(((20, 30),), exactly_half, accounts=1, only_half=True),
    "crash": Scenario(((10, 60),), all_final, crash),
    "soak": Scenario(((10, 3_600),), no_growth, mild),
}
