"""Prints a run as k6 does, and as JSON for `loadtest report`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from examples.payments.load.measured import Check, Measured, quantile
from loadtest.results.costs import Costs
from loadtest.results.run_result import Latency, RunResult, per_second, quantiles_ms

JOBS = 5
"""Jobs of a payment that succeeds: validate, debit, score, charge and a mail."""


def lines(name: str, dispatch: str, measured: Measured, checks: Sequence[Check], costs: Costs | None) -> list[str]:
    """Return the block of a run."""
    seen = measured.seen
    seconds = max((one.ended for one in seen), default=0.0)
    late = sum(one.started - one.intended > 0.05 for one in seen)
    refused = sum(one.refusals for one in seen)
    kept = sum(check.holds for check in checks)
    by_status = ", ".join(f"{count} {status}" for status, count in sorted(measured.statuses.items()))
    block = [
        f"{name} ({dispatch})",
        f"  iterations.........: {len(seen)}  {len(seen) / max(seconds, 0.001):.1f}/s  ({by_status})",
        f"  dropped_iterations.: 0  late starts: {late}  refused and repeated: {refused}",
        f"  http_req_duration..: {_times(one.accepted - one.started for one in seen)}",
        f"  payment_duration...: {_times(one.seconds for one in seen)}",
        f"  checks.............: {kept}/{len(checks)}",
        *(f"    {'✓' if check.holds else '✗'} {check.what}" for check in checks),
        *(f"    - {note}" for note in measured.notes),
    ]
    if costs is not None and seen:
        count = len(seen)
        cpu = ", ".join(f"{one} {cost.cpu_s * 1000 / count:.1f}" for one, cost in sorted(costs.processes.items()))
        total = sum(cost.cpu_s for cost in costs.processes.values()) * 1000 / count
        block.append(f"  CPU ms a payment...: {total:.1f} ({cpu})")
        if costs.wal_bytes is not None:
            commits = (costs.commits or 0) / count
            block.append(f"  WAL a payment......: {costs.wal_bytes / count / 1000:.1f} kB, {commits:.1f} commits")
        if costs.persistence_operations is not None:
            block.append(f"  Temporal a payment.: {costs.persistence_operations / count:.1f} persistence operations")
    return block


def result(name: str, dispatch: str, measured: Measured, costs: Costs | None) -> RunResult:
    """Return the numbers of a run, as the load test keeps them."""
    seen = measured.seen
    seconds = max((one.ended for one in seen), default=0.001)
    completed = measured.statuses["success"] + measured.statuses["fail"]
    return RunResult(
        arm=dispatch,
        scenario=f"payments {name}",
        workflows=len(seen),
        jobs=JOBS,
        concurrency=None,
        completed=completed,
        failed=len(seen) - completed,
        duration_s=seconds,
        workflows_per_s=completed / seconds,
        jobs_per_s=completed * JOBS / seconds,
        latency_ms=Latency.of([one.seconds for one in seen]),
        history_events=None,
        start_lag_ms=Latency.of([one.started - one.intended for one in seen]),
        latency_quantiles_ms=quantiles_ms(one.seconds for one in seen),
        series=per_second([one.ended for one in seen], []),
        costs=costs,
    )


def _times(seconds: Iterable[float]) -> str:
    values = list(seconds) or [0.0]
    named = {"avg": statistics.fmean(values), "min": min(values), "med": quantile(values, 50)}
    named |= {f"p{percent}": quantile(values, percent) for percent in (90, 95, 99)} | {"max": max(values)}
    return " ".join(f"{name}={value * 1000:.0f}ms" for name, value in named.items())
