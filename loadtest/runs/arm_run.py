"""One run: start the arm's workers, warm up, measure, check every result, stop, clean up."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from delegator.errors import DelegatorError
from loadtest.arms import arm_named
from loadtest.arms.base import HTTP_CONCURRENCY, Arm, Session
from loadtest.meters.cost_meter import CostMeter, CostSources, idle_statements
from loadtest.meters.statements import Counted
from loadtest.progress import Progress
from loadtest.results.run_result import RunResult
from loadtest.runs.cleanup import deleting, finish_rows, terminating
from loadtest.runs.generator import Outcome, bursts, closed_loop, open_loop
from loadtest.runs.judge import Observed, judge, sort_out
from loadtest.runs.plan import Plan
from loadtest.servers.crew import Crew, WorkerProcess, crew
from loadtest.servers.stack import Servers, connect
from loadtest.servers.versions import versions
from loadtest.workload.ledger import DIRECTORY_VARIABLE, read
from loadtest.workload.scenarios import Arrival, Load

T = TypeVar("T")

_SAMPLE: Final = 20  # histories whose length is read
_WARM_UP: Final = Load(workflows=20, jobs=50, concurrency=20)  # at most this, and never more than the run itself
_WARM_UP_SECONDS: Final = 60.0  # at most; the start of the workers is part of it
_PAUSE_SECONDS: Final = 0.2  # for the last writes of the warm-up
_IDLE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.25  # between two looks at a growing backlog


async def run(plan: Plan, servers: Servers, progress: Progress) -> RunResult:
    """Run one arm once.

    Args:
        plan: what to run.
        servers: where.
        progress: gets reports of the runs.

    Raises:
        ConfigurationError: the arm can't run the plan.
        DelegatorError: a server or a worker process failed.
    """
    plan.check()
    arm = arm_named(plan.arm)
    client = await connect(servers.environment)
    with TemporaryDirectory(prefix="loadtest-logs-") as logs, TemporaryDirectory(prefix="loadtest-ledger-") as ledger:
        session = Session(
            client=client,
            task_queue=f"loadtest-{plan.arm}-{plan.scenario}-{uuid.uuid4().hex[:8]}",
            timeout=plan.timeout,
            ledger=Path(ledger),
            database_url=servers.database_url if arm.delegates else None,
        )
        work = _Run(arm, plan, servers, session, progress, Path(logs))
        async with deleting(session, work.pids, progress.complain):
            observed = await work.observe()
        good = sort_out(arm, observed, progress.complain)
        return judge(
            arm,
            plan,
            observed,
            good,
            await _histories(arm, session, good),
            settings=_settings(plan, servers),
            versions=await versions(client, servers.database_url),
        )


@dataclass(frozen=True, slots=True)
class _Run:
    arm: Arm
    plan: Plan
    servers: Servers
    session: Session
    progress: Progress
    logs: Path
    pids: list[int] = field(default_factory=list)

    async def observe(self) -> Observed:
        """Start the workers, warm up, measure and stop them."""
        piles_up = self.plan.kind.arrival is Arrival.BACKLOG
        processes = self.arm.processes(self.session.task_queue, split=piles_up)
        wall = time.time() - time.perf_counter()
        measure = self._backlog if piles_up else self._at_once
        async with (
            self._crew(processes.standing) as standing,
            terminating(self.arm, self.session, self.progress.complain),
        ):
            outcomes, meter = await measure(standing, processes.job_workers)
        return Observed(outcomes, read(self.session.ledger), wall, meter.costs)

    async def _at_once(
        self, standing: Crew, job_workers: Sequence[WorkerProcess]
    ) -> tuple[Sequence[Outcome], CostMeter]:
        async with self._crew(job_workers) as helpers:
            workers = standing.beside(helpers)
            await workers.during(self._warm_up(workers))
            idle = await workers.during(self._idle())
            self._begin()
            async with self._meter(workers, idle) as meter:
                outcomes = await workers.during(self._drive())
                await finish_rows(self.session)
            return outcomes, meter

    async def _backlog(
        self, standing: Crew, job_workers: Sequence[WorkerProcess]
    ) -> tuple[Sequence[Outcome], CostMeter]:
        async with self._crew(job_workers) as helpers:
            workers = standing.beside(helpers)
            await workers.during(self._warm_up(workers))
            idle = await workers.during(self._idle())
        self._begin()
        async with _background(self._drive()) as filling:
            await standing.during(self._piled_up(filling))
            async with self._meter(standing, idle) as meter, self._crew(job_workers) as helpers:
                meter.watch(helpers.pids)
                outcomes = await standing.beside(helpers).during(filling)
                await finish_rows(self.session)
                meter.look()
            return outcomes, meter

    def _begin(self) -> None:
        self.progress.begin(f"{self.plan.arm} · {self.plan.scenario}", self.plan.load.workflows)

    async def _drive(self) -> Sequence[Outcome]:
        """Start the workflows of the measured window and wait for them."""
        load, choices = self.plan.load, self.plan.choices
        works = self.plan.works(load.workflows, load.jobs)
        execute = partial(self.arm.execute, self.session)
        if load.workflow_rate is not None:
            return await open_loop(execute, works, rate=load.workflow_rate, progress=self.progress.advance)
        if self.plan.kind.arrival is Arrival.BURSTS:
            return await bursts(
                execute, works, count=choices.bursts, pause=choices.pause, progress=self.progress.advance
            )
        return await closed_loop(
            execute, works, concurrency=load.concurrency or len(works), progress=self.progress.advance
        )

    async def _warm_up(self, workers: Crew) -> None:
        load, arm = self.plan.load, self.arm
        works = self.plan.works(
            min(load.concurrency or load.workflows, load.workflows, _WARM_UP.workflows),
            min(load.jobs, _WARM_UP.jobs),
            start=load.workflows,
        )
        execute = partial(arm.execute, self.session)
        limit_seconds = _WARM_UP_SECONDS + load.jobs * self.plan.choices.sleep_ms / 1000
        try:
            async with asyncio.timeout(limit_seconds):
                outcomes = await closed_loop(execute, works, concurrency=len(works), progress=lambda: None)
        except TimeoutError:
            raise DelegatorError(
                f"no result from the arm {arm.name} in {limit_seconds:g} s of warm-up ({workers.last_words()})"
            ) from None
        for outcome in outcomes:
            if outcome.answer != arm.expected(outcome.work):
                raise DelegatorError(f"the warm-up of the arm {arm.name} failed: {outcome.error or 'wrong answer'}")
        await finish_rows(self.session)
        await asyncio.sleep(_PAUSE_SECONDS)

    async def _piled_up(self, filling: asyncio.Task[Any]) -> None:
        """Wait until all jobs wait for a worker."""
        load = self.plan.load
        works = self.plan.works(load.workflows, load.jobs)
        try:
            async with asyncio.timeout(self.plan.timeout.total_seconds()):
                while (waiting := await self.arm.waiting(self.session, works)) < load.workflows * load.jobs:
                    if filling.done():
                        await filling
                        raise DelegatorError(f"the workflows of the arm {self.arm.name} ended before their jobs ran")
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise DelegatorError(
                f"only {waiting} of {load.workflows * load.jobs} jobs were enqueued in "
                f"{self.plan.timeout.total_seconds():g} s: ask for fewer jobs, or allow more time (--timeout)"
            ) from None

    @asynccontextmanager
    async def _crew(self, processes: Sequence[WorkerProcess]) -> AsyncIterator[Crew]:
        environment = {**self.servers.environment, DIRECTORY_VARIABLE: str(self.session.ledger)}
        async with crew(processes, environment=environment, directory=self.logs) as members:
            self.pids.extend(members.pids.values())
            yield members

    async def _idle(self) -> Mapping[str, Counted]:
        """Count the statements of the idle servers and workers, if statements are counted."""
        return await idle_statements(self.servers.statement_urls, _IDLE_SECONDS)

    def _meter(self, workers: Crew, idle: Mapping[str, Counted]) -> CostMeter:
        return CostMeter(
            CostSources(
                processes={**self.servers.processes, **workers.pids, "load generator": os.getpid()},
                temporal_metrics_url=self.servers.temporal_metrics_url,
                database_url=self.servers.database_url,
                temporal_database_url=self.servers.temporal_database_url,
                statement_urls=self.servers.statement_urls,
                background=idle,
            )
        )


@asynccontextmanager
async def _background(work: Awaitable[T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run work beside a block, and cancel it when the block ends."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _histories(arm: Arm, session: Session, good: Sequence[Outcome]) -> list[int]:
    sample = good[:: max(len(good) // _SAMPLE, 1)][:_SAMPLE]
    lengths = await asyncio.gather(*(arm.history_length(session, outcome.work) for outcome in sample))
    return [length for length in lengths if length is not None]


def _settings(plan: Plan, servers: Servers) -> dict[str, Any]:
    return plan.kind.settings(plan.load, plan.choices) | {
        "timeout": plan.timeout.total_seconds(),
        "temporal": servers.temporal,
        "http_concurrency": HTTP_CONCURRENCY,
        # Only if it is true, so that it equals what older versions wrote.
        **({"statements": True} if servers.statement_urls else {}),
    }
