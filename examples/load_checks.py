"""What may be asked of a load in an open loop. Each check looks at what was seen, and at the steps of the load."""

from __future__ import annotations

from itertools import accumulate

from examples.open_loop import Check, Measured, quantile, seconds_of

Steps = tuple[tuple[float, float], ...]
"""Requests in a second, and for how many seconds."""


def all_fast(measured: Measured, steps: Steps) -> list[Check]:
    """Each workflow is quick."""
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
    """Nothing is lost; how long it takes until what waited is done is reported. `mended` marks the fault's end."""
    mended = measured.marks["mended"]
    waited = [one.ended for one in measured.seen if one.intended < mended]
    return [
        Check(f"what waited was done {max(waited, default=mended) - mended:.1f} s after the fault was mended", True),
        Check("everything succeeded", set(measured.statuses) == {"success"}),
    ]
