"""Prints a run as k6 does, and as JSON for `loadtest report`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from examples.open_loop import Check, Measured, quantile
from loadtest.results.costs import Costs
from loadtest.results.run_result import Latency, RunResult, per_second, quantiles_ms


def lines(unit: str, title: str, measured: Measured, checks: Sequence[Check], costs: Costs) -> list[str]:
    """Return the block of a run. The unit is what the workflows are: `payment`."""
    seen = measured.seen
    rate = len(seen) / max((one.ended for one in seen), default=1.0)
    late, refused = sum(one.lag > 0.05 for one in seen), sum(one.refusals for one in seen)
    by_status = ", ".join(f"{count} {status}" for status, count in sorted(measured.statuses.items()))
    block = [
        title,
        f"  iterations.........: {len(seen)}  {rate:.1f}/s  ({by_status})",
        f"  dropped_iterations.: 0  late starts: {late}  refused and repeated: {refused}",
        f"  http_req_duration..: {_times(one.accepted - one.started for one in seen)}",
        f"  {unit}_duration".ljust(21, ".") + f": {_times(one.seconds for one in seen)}",
        f"  checks.............: {sum(check.holds for check in checks)}/{len(checks)}",
        *(f"    {'✓' if check.holds else '✗'} {check.what}" for check in checks),
        *(f"    - {note}" for note in measured.notes),
    ]
    if share := costs.per(len(seen)):
        cpu = ", ".join(f"{process} {ms:.1f}" for process, ms in sorted(share.cpu_ms.items()))
        block.append(f"  CPU ms a {unit}...: {sum(share.cpu_ms.values()):.1f} ({cpu})")
        if share.wal_bytes is not None and share.commits is not None:
            block.append(f"  WAL a {unit}......: {share.wal_bytes / 1000:.1f} kB, {share.commits:.1f} commits")
        if share.persistence_operations is not None:
            block.append(f"  Temporal a {unit}.: {share.persistence_operations:.1f} persistence operations")
    return block


def result(scenario: str, dispatch: str, jobs: int, measured: Measured, costs: Costs) -> RunResult:
    """Return the numbers of a run, as the load test keeps them. `jobs` is the number of jobs of a workflow."""
    seen = measured.seen
    seconds = max((one.ended for one in seen), default=1.0)
    completed = measured.statuses["success"] + measured.statuses["fail"]
    return RunResult(
        arm=dispatch,
        scenario=scenario,
        workflows=len(seen),
        jobs=jobs,
        concurrency=None,
        completed=completed,
        failed=len(seen) - completed,
        duration_s=seconds,
        workflows_per_s=completed / seconds,
        jobs_per_s=completed * jobs / seconds,
        latency_ms=Latency.of([one.seconds for one in seen]),
        history_events=None,
        start_lag_ms=Latency.of([one.lag for one in seen]),
        latency_quantiles_ms=quantiles_ms(one.seconds for one in seen),
        series=per_second([one.ended for one in seen], []),
        costs=costs,
    )


def _times(seconds: Iterable[float]) -> str:
    values = list(seconds) or [0.0]
    named = {"avg": statistics.fmean(values), "min": min(values), "med": quantile(values, 50)}
    named |= {f"p{percent}": quantile(values, percent) for percent in (90, 95, 99)} | {"max": max(values)}
    return " ".join(f"{name}={value * 1000:.0f}ms" for name, value in named.items())
