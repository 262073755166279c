"""One run: start the arm's workers, warm up, measure, check every result, stop."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from delegator.errors import DelegatorError
from loadtest.arms import arm_named
from loadtest.arms.base import Arm, Session
from loadtest.generator import Outcome, closed_loop, first
from loadtest.ledger import DIRECTORY_VARIABLE, executions
from loadtest.measure import HistoryEvents, Latency, RunResult
from loadtest.processes import Crew, crew
from loadtest.scenarios import Load, scenario_named
from loadtest.stack import connect
from loadtest.work import Piece, Work

T = TypeVar("T")

_SAMPLE: Final = 20  # histories looked at
_WARM_UP: Final = Load(workflows=20, jobs=50, concurrency=20)  # at most this, and never more than the run itself
_WARM_UP_TIMEOUT: Final = 60.0  # seconds; it includes the start of the workers
_PAUSE: Final = 0.2  # seconds for the warm-up's last writes


class Progress:
    """Told how a run goes; this one keeps it to itself."""

    def begin(self, title: str, total: int) -> None:
        """A run begins.

        Args:
            title: what to show.
            total: workflows in its measured window.
        """

    def advance(self) -> None:
        """A workflow is done."""

    def complain(self, message: str) -> None:
        """Something went wrong that the numbers do not explain."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    arm: str
    """Name of the arm."""
    scenario: str
    """Name of the scenario."""
    load: Load
    """How much."""
    timeout: timedelta = timedelta(minutes=5)
    """A workflow that takes longer has failed."""

    def check(self) -> None:
        """Refuse what the arm can't run.

        Raises:
            ConfigurationError: it can't.
        """
        arm_named(self.arm).check(scenario_named(self.scenario), self.load)


async def run(plan: Plan, environment: Mapping[str, str], progress: Progress) -> RunResult:
    """Run one arm once.

    Args:
        plan: what to run.
        environment: reaches the servers; added to this process's own.
        progress: told how it goes.

    Raises:
        ConfigurationError: the arm can't run the plan.
        DelegatorError: a server or a worker process failed.
    """
    plan.check()
    arm = arm_named(plan.arm)
    session = Session(
        client=await connect(environment),
        task_queue=f"loadtest-{plan.arm}-{plan.scenario}-{uuid.uuid4().hex[:8]}",
        timeout=plan.timeout,
    )
    with TemporaryDirectory(prefix="loadtest-logs-") as logs, TemporaryDirectory(prefix="loadtest-ledger-") as ledger:
        async with crew(
            arm.commands(session.task_queue),
            environment={**environment, DIRECTORY_VARIABLE: ledger},
            directory=Path(logs),
        ) as workers:
            await _alive(workers, _warm_up(arm, session, plan, workers))
            progress.begin(f"{plan.arm} · {plan.scenario}", plan.load.workflows)
            begin = time.perf_counter()
            outcomes = await _alive(workers, _measured(arm, session, plan, progress.advance))
            duration = time.perf_counter() - begin
        return await _judge(arm, session, plan, outcomes, duration, executions(Path(ledger)), progress.complain)


async def _measured(arm: Arm, session: Session, plan: Plan, advance: Callable[[], None]) -> list[Outcome]:
    works = _works(plan, plan.load.workflows, plan.load.jobs)
    return await closed_loop(partial(arm.execute, session), works, concurrency=plan.load.concurrency, progress=advance)


async def _warm_up(arm: Arm, session: Session, plan: Plan, workers: Crew) -> None:
    works = _works(
        plan,
        min(plan.load.concurrency, _WARM_UP.workflows),
        min(plan.load.jobs, _WARM_UP.jobs),
        start=plan.load.workflows,
    )
    try:
        async with asyncio.timeout(_WARM_UP_TIMEOUT):
            outcomes = await closed_loop(
                partial(arm.execute, session), works, concurrency=_WARM_UP.concurrency, progress=lambda: None
            )
    except TimeoutError:
        raise DelegatorError(
            f"no result from the arm {arm.name} in {_WARM_UP_TIMEOUT:g} s of warm-up ({workers.last_words()})"
        ) from None
    for outcome in outcomes:
        if outcome.answer != arm.expected(outcome.work):
            raise DelegatorError(f"the warm-up of the arm {arm.name} failed: {outcome.error or 'wrong answer'}")
    await asyncio.sleep(_PAUSE)


async def _judge(
    arm: Arm,
    session: Session,
    plan: Plan,
    outcomes: Sequence[Outcome],
    duration: float,
    ran: Counter[Piece],
    complain: Callable[[str], None],
) -> RunResult:
    good: list[Outcome] = []
    faults: list[str] = []
    for outcome in outcomes:
        fault = _fault(arm, outcome, ran)
        if fault is None:
            good.append(outcome)
        else:
            faults.append(fault)
    if faults:
        complain(f"{arm.name}: {len(faults)} of {len(outcomes)} workflows failed; the first: {faults[0]}")
    lengths = await asyncio.gather(
        *(arm.history_length(session, outcome.work) for outcome in good[:: max(len(good) // _SAMPLE, 1)][:_SAMPLE])
    )
    jobs_done = len(good) * plan.load.jobs if arm.runs_jobs else 0
    return RunResult(
        arm=arm.name,
        scenario=plan.scenario,
        workflows=plan.load.workflows,
        jobs=plan.load.jobs,
        concurrency=plan.load.concurrency,
        completed=len(good),
        failed=plan.load.workflows - len(good),
        duration_s=duration,
        workflows_per_s=len(good) / duration,
        jobs_per_s=jobs_done / duration,
        latency_ms=Latency.of([outcome.seconds for outcome in good]),
        history_events=HistoryEvents.of([length for length in lengths if length is not None]),
    )


def _fault(arm: Arm, outcome: Outcome, ran: Counter[Piece]) -> str | None:
    if outcome.error is not None:
        return outcome.error
    if outcome.answer != arm.expected(outcome.work):
        return f"workflow {outcome.work.workflow} gave a wrong answer"
    if arm.runs_jobs:
        for piece in outcome.work.pieces():
            if ran[piece] != 1:
                return f"job {piece.job} of workflow {piece.workflow} ran {ran[piece]} times"
    return None


def _works(plan: Plan, count: int, jobs: int, start: int = 0) -> list[Work]:
    pattern = scenario_named(plan.scenario).pattern
    return [Work(workflow=start + number, jobs=jobs, pattern=pattern) for number in range(count)]


async def _alive(workers: Crew, work: Awaitable[T]) -> T:
    """Wait for `work`, no longer than the worker processes live."""

    async def only() -> T:
        return await work

    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(workers.watch())
            result = await group.create_task(only())
            watch.cancel()
    except ExceptionGroup as errors:
        raise first(errors) from None
    return result
