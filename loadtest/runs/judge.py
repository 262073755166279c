"""Compute the numbers of a run from the outcomes of its workflows and from its ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest.arms.base import Arm
from loadtest.results.costs import Costs
from loadtest.results.run_result import HistoryEvents, Latency, RunResult, per_second, quantiles_ms
from loadtest.runs.generator import Outcome, busy_seconds
from loadtest.runs.plan import Plan
from loadtest.workload.ledger import Entries, job_key
from loadtest.workload.scenarios import Arrival

_LATE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known after the measured window."""

    outcomes: Sequence[Outcome]
    """The outcome of each workflow."""
    entries: Entries
    """The ledger."""
    wall: float
    """Seconds to add to a moment of an outcome to get the Unix time."""
    costs: Costs | None
    """What the window cost."""

    @property
    def window(self) -> tuple[float, float]:
        """The first intended start and the last end, failed workflows included."""
        return min(outcome.intended for outcome in self.outcomes), max(outcome.ended for outcome in self.outcomes)


def sort_out(arm: Arm, observed: Observed, complain: Callable[[str], None]) -> Sequence[Outcome]:
    """Return the workflows that gave the right answer and whose jobs ran as often as they should.

    Args:
        arm: what ran.
        observed: what was seen.
        complain: called about the other workflows, and about late starts.
    """
    good: list[Outcome] = []
    faults: list[str] = []
    for outcome in observed.outcomes:
        fault = _fault(arm, outcome, observed.entries)
        if fault is None:
            good.append(outcome)
        else:
            faults.append(fault)
    if faults:
        complain(f"{arm.name}: {len(faults)} of {len(observed.outcomes)} workflows failed; the first: {faults[0]}")
    if late := sum(outcome.lag > _LATE_SECONDS for outcome in observed.outcomes):
        complain(
            f"{arm.name}: the load generator started {late} of {len(observed.outcomes)} workflows more than "
            f"{_LATE_SECONDS * 1000:g} ms late (start_lag_ms; their latency includes it): "
            "the machine can't keep up the rate"
        )
    return good


def judge(
    arm: Arm,
    plan: Plan,
    observed: Observed,
    good: Sequence[Outcome],
    histories: Sequence[int],
    *,
    settings: dict[str, Any],
    versions: dict[str, Any],
) -> RunResult:
    """Return the numbers of a run.

    Args:
        arm: what ran.
        plan: what it should run.
        observed: what was seen.
        good: the workflows that count; see `sort_out`.
        histories: number of events of some of them.
        settings: what shaped the run.
        versions: what it ran on.
    """
    arrival, load = plan.kind.arrival, plan.load
    begin, end = observed.window
    if arrival is Arrival.BACKLOG:
        begin = max(begin, _first_start(observed, begin))
    duration = busy_seconds(observed.outcomes) if arrival is Arrival.BURSTS else end - begin
    jobs = _Jobs.of(observed, good, arrival) if arm.runs_jobs else None
    waits = [wait for wait in observed.entries.waits if wait.when / 1e6 - observed.wall >= observed.window[0]]
    enqueued = sum(wait.jobs for wait in waits)
    seconds = [outcome.seconds for outcome in good]
    return RunResult(
        arm=arm.name,
        scenario=plan.scenario,
        workflows=load.workflows,
        jobs=load.jobs,
        concurrency=load.concurrency,
        completed=len(good),
        failed=load.workflows - len(good),
        duration_s=duration,
        workflows_per_s=len(good) / duration,
        jobs_per_s=len(good) * load.jobs / duration if jobs else 0.0,
        latency_ms=Latency.of(seconds),
        history_events=HistoryEvents.of(histories),
        payload_bytes=plan.choices.payload_bytes,
        settings=settings,
        versions=versions,
        job_start_ms=Latency.of(jobs.start) if jobs else None,
        job_end_ms=Latency.of(jobs.end) if jobs else None,
        start_lag_ms=Latency.of([outcome.lag for outcome in observed.outcomes]) if arrival is Arrival.OPEN else None,
        inline_share=sum(wait.finished for wait in waits) / enqueued if enqueued else None,
        latency_quantiles_ms=quantiles_ms(seconds),
        series=per_second(
            (outcome.ended - begin for outcome in good), (moment - begin for moment in jobs.moments) if jobs else ()
        ),
        costs=observed.costs,
    )


@dataclass(frozen=True, slots=True)
class _Jobs:
    start: list[float]
    end: list[float]
    moments: list[float]

    @classmethod
    def of(cls, observed: Observed, good: Sequence[Outcome], arrival: Arrival) -> _Jobs:
        jobs = cls([], [], [])
        executions, results = observed.entries.executions, observed.entries.results
        for outcome in good:
            intended = (outcome.intended + observed.wall) * 1e6
            for job in range(outcome.work.jobs):
                key = job_key(outcome.work.workflow, job)
                execution = executions[key]
                had = results.get(key)
                if had is not None:
                    jobs.moments.append(had / 1e6 - observed.wall)
                if execution.enqueued is None:
                    continue
                jobs.start.append((execution.started - execution.enqueued) / 1e6)
                if had is not None:
                    base = intended if arrival is Arrival.OPEN else execution.enqueued
                    jobs.end.append((had - base) / 1e6)
        return jobs


def _first_start(observed: Observed, begin: float) -> float:
    """Return when the first job of the measured workflows started, by the clock of the outcomes."""
    executions = observed.entries.executions
    keys = (job_key(outcome.work.workflow, job) for outcome in observed.outcomes for job in range(outcome.work.jobs))
    return min((executions[key].started / 1e6 - observed.wall for key in keys if key in executions), default=begin)


def _fault(arm: Arm, outcome: Outcome, entries: Entries) -> str | None:
    work = outcome.work
    if outcome.error is not None:
        return outcome.error
    if outcome.answer != arm.expected(work):
        return f"workflow {work.workflow} gave a wrong answer"
    if arm.runs_jobs:
        for job, wanted in enumerate(work.executions()):
            execution = entries.executions.get(job_key(work.workflow, job))
            times = execution.times if execution else 0
            if times != wanted:
                return f"job {job} of workflow {work.workflow} ran {times} times, not {wanted}"
    return None
