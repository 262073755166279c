"""Tables for a terminal: queues without workflows."""

from __future__ import annotations

from rich import box
from rich.table import Table

from loadtest.queues.delegator_queue import DelegatorQueue, OrderedQueue
from loadtest.queues.load import Mode
from loadtest.results.queue_result import BulkComparison, BulkResult
from loadtest.servers.databases import SAFETY

_MIB = 1 << 20
_UNSAFE = frozenset({"off", "local", "remote_write"})


def bulk_table(comparison: BulkComparison, subject: str) -> Table:
    """Show the contenders side by side.

    Args:
        comparison: what was measured.
        subject: the contender whose throughput is divided by that of the others.
    """
    steady = comparison.mode == Mode.STEADY
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, title_justify="left", caption_justify="left")
    for column in ("load", "queue"):
        table.add_column(column, no_wrap=True)
    numbers = ("p50\nms", "p90\nms", "p99\nms", "max\nms") if steady else ("jobs/s", "min..max", f"{subject}\nratio")
    for column in ("ok", *numbers, "relay\nMiB", "CPU ms\nper job"):
        table.add_column(column, justify="right", no_wrap=True)
    lines = [
        (name, _share(result), *(_latency(result) if steady else _rates(comparison, name, subject)), *_costs(result))
        for name, result in comparison.arms.items()
    ]
    table.add_row(_load(comparison), *("\n".join(column) for column in zip(*lines, strict=True)))
    table.caption = _caption(comparison, steady=steady)
    return table


def _load(comparison: BulkComparison) -> str:
    result = next(iter(comparison.arms.values()))
    amount = f"{result.jobs:,} jobs" if result.rate is None else f"{result.rate:,.0f} jobs/s\n{result.jobs:,} jobs"
    return f"{comparison.mode}\n{amount}\n{result.payload_bytes:,} bytes each"


def _caption(comparison: BulkComparison, *, steady: bool) -> str:
    values = comparison.settings["postgres"]
    shown = [
        f"[red]{name} {values.get(name)}[/red]" if values.get(name) in _UNSAFE else f"{name} {values.get(name)}"
        for name in SAFETY
    ]
    what = "from the intended enqueue time to the start of the handler" if steady else "ratio: jobs/s divided by theirs"
    medians = f"; medians of {comparison.rounds} rounds" if comparison.rounds > 1 else ""
    return f"{what}{medians}; {', '.join(shown)}{_ordered(comparison)}"


def _ordered(comparison: BulkComparison) -> str:
    """Say what order costs, if an ordered queue ran beside a plain one."""
    if OrderedQueue.name not in comparison.arms:
        return ""
    cost = comparison.cost_ratio(OrderedQueue.name, DelegatorQueue.name)
    rate = comparison.ratio(OrderedQueue.name, DelegatorQueue.name)
    parts = [f"{cost:.2f} times the processor time of a job"] if cost is not None else []
    parts += [f"{rate:.2f} times the jobs/s"] if rate is not None else []
    if not parts:
        return ""
    return f"\nAn ordered queue has {' and '.join(parts)} of a plain one (medians of the ratios of the rounds)."


def _share(result: BulkResult) -> str:
    return "100 %" if not result.failed else f"[red]{100 * result.completed / result.jobs:.2f} %[/red]"


def _rates(comparison: BulkComparison, name: str, subject: str) -> tuple[str, ...]:
    least, most = comparison.spread(name)
    ratio = comparison.ratio(subject, name) if name != subject else None
    return (
        f"{comparison.arms[name].jobs_per_s:,.0f}",
        f"{least:,.0f}..{most:,.0f}",
        "-" if ratio is None else f"{ratio:.2f}",
    )


def _latency(result: BulkResult) -> tuple[str, ...]:
    latency = result.job_start_ms
    if latency is None:
        return ("-",) * 4
    return tuple(f"{value:,.1f}" for value in (latency.p50, latency.p90, latency.p99, latency.max))


def _costs(result: BulkResult) -> tuple[str, str]:
    memory, cpu = result.relay_peak_rss_bytes, result.cpu_ms_per_job
    return ("-" if memory is None else f"{memory / _MIB:,.0f}", f"{sum(cpu.values()):.3f}" if cpu else "-")
