"""Results of `loadtest bulk` and `loadtest peers`, as comparisons of runs that have jobs and no workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from loadtest.bulk.bare import YARDSTICKS
from loadtest.bulk.delegator_queue import DelegatorQueue
from loadtest.bulk.load import Mode
from loadtest.bulk.results import BulkResult
from loadtest.comparison import Comparison
from loadtest.costs.model import Costs, ProcessCost
from loadtest.measure import RunResult

_RELAY: Final = "relay"


def as_comparison(
    runs: Mapping[str, Sequence[BulkResult]], rounds: int, settings: Mapping[str, Any], versions: Mapping[str, Any]
) -> Comparison:
    """Rewrite the runs of several queues.

    Args:
        runs: of each, at least one.
        rounds: how many each had.
        settings: of PostgreSQL and of each queue.
        versions: what they ran on.
    """
    mode = next(iter(runs.values()))[0].mode
    scenario = f"{mode}, without workflows"
    return Comparison(
        scenario,
        rounds,
        {name: [_as_run(run, scenario, settings, versions) for run in found] for name, found in runs.items()},
    )


def bulk_words(run: RunResult, arms: Sequence[str], rounds: int) -> list[str]:
    """Return the command that measures such runs again, without the program's name.

    Args:
        run: one of them.
        arms: the queues.
        rounds: how many each had.
    """
    mode, rate = str(run.settings.get("mode")), run.settings.get("rate")
    rate = rate if isinstance(rate, int | float) and rate > 0 else None
    amount = ["--rate", f"{rate:g}", "--duration", f"{run.jobs / rate:g}"] if rate else ["--jobs", str(run.jobs)]
    amount += ["--payload-bytes", str(run.payload_bytes), "--rounds", str(rounds)]
    peers = [arm for arm in arms if arm not in (*YARDSTICKS, DelegatorQueue.name)]
    if peers:
        return ["peers", "--queues", ",".join(peers), "--scenarios", mode, *amount]
    words = ["bulk", *amount]
    if mode == Mode.BACKLOG:
        words.append("--backlog")
    if not set(YARDSTICKS) & set(arms) and not rate:
        words.append("--no-bare")
    return words


def _as_run(run: BulkResult, scenario: str, settings: Mapping[str, Any], versions: Mapping[str, Any]) -> RunResult:
    processes = {
        name: ProcessCost(
            cpu_s=milliseconds * run.completed / 1000,
            peak_rss_bytes=(run.relay_peak_rss_bytes or 0) if name == _RELAY else 0,
        )
        for name, milliseconds in run.cpu_ms_per_job.items()
    }
    return RunResult(
        arm=run.contender,
        scenario=scenario,
        workflows=0,
        jobs=run.jobs,
        concurrency=None,
        completed=run.completed,
        failed=run.failed,
        duration_s=run.duration_s,
        workflows_per_s=0.0,
        jobs_per_s=run.jobs_per_s,
        latency_ms=None,
        history_events=None,
        payload_bytes=run.payload_bytes,
        settings={"mode": run.mode, "jobs": run.jobs, "rate": run.rate, **settings},
        versions=dict(versions),
        job_start_ms=run.job_start_ms,
        costs=Costs(None, {}, None, None, None, processes) if processes else None,
    )
