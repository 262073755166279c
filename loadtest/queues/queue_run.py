"""Run one contender once: start its worker, warm up, enqueue, wait until no row is left, check every job."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from delegator.errors import ConfigurationError, DelegatorError
from delegator.postgres.connections import Connection, connect
from delegator.runtime.exception_groups import first_error
from loadtest.meters.cost_meter import CostMeter, CostSources
from loadtest.queues.contender import Contender, Enqueue
from loadtest.queues.executions import DIRECTORY_VARIABLE, Executions, count
from loadtest.queues.load import WARM_UP_JOBS, BulkLoad, Mode
from loadtest.results.costs import Costs
from loadtest.results.queue_result import BulkResult
from loadtest.results.run_result import Latency
from loadtest.servers.crew import Crew, crew

_LOOK_SECONDS: Final = 0.005  # between two looks at the executions, and later at the table
_STALL_SECONDS: Final = 60.0  # without progress; the start of the worker is part of it
_LEAD_SECONDS: Final = 0.2  # from the end of the warm-up to the first enqueue


@dataclass(frozen=True, slots=True)
class Window:
    """The measured part of a run."""

    begin: float
    """When the first enqueue was due, in seconds of the wall clock."""
    enqueued: float
    """When all jobs were enqueued."""
    end: float
    """When no row was left."""
    costs: Costs
    """Costs of the processes."""
    left: int
    """Rows that were left at the end."""
    fill: Costs | None = None
    """Backlog: costs of filling the queue."""


async def run_contender(
    contender: Contender, load: BulkLoad, pids: Mapping[str, int], advance: Callable[[int], None]
) -> BulkResult:
    """Run the load once.

    Args:
        contender: the queue.
        load: the load.
        pids: process ids of our own servers, by name.
        advance: called with a number of jobs that have started.

    Raises:
        ConfigurationError: the queue has other work.
        DelegatorError: a server or the worker failed, or the queue makes no progress.
    """
    with TemporaryDirectory(prefix="loadtest-logs-") as logs, TemporaryDirectory(prefix="loadtest-ledger-") as ledger:
        run = _Run(contender, load, pids, Path(ledger), Path(logs), advance)
        async with await connect(contender.database_url, application_name="loadtest") as connection:
            if await contender.rows(connection, 1):
                raise ConfigurationError(
                    f"{contender.tables[0]} has jobs that are not ours: the load test needs an empty queue"
                )
            await contender.tidy(connection)
            window = None
            try:
                async with contender.producer() as enqueue:
                    window = await (run.backlog if load.mode is Mode.BACKLOG else run.beside)(connection, enqueue)
            except ExceptionGroup as errors:
                raise first_error(errors) from None
            finally:
                if window is None or window.left:
                    await contender.clear(connection)
        return judge(contender.name, load, window, Executions(Path(ledger)))


class _Run:
    """The parts of a run."""

    def __init__(
        self,
        contender: Contender,
        load: BulkLoad,
        pids: Mapping[str, int],
        ledger: Path,
        logs: Path,
        advance: Callable[[int], None],
    ) -> None:
        self._contender = contender
        self._load = load
        self._pids = {**pids, "load": os.getpid()}
        self._ledger = ledger
        self._logs = logs
        self._advance = advance

    async def beside(self, connection: Connection, enqueue: Enqueue) -> Window:
        """Enqueue while the worker runs."""
        async with self._crew() as workers:
            await workers.during(self._warm_up(connection, enqueue))
            async with CostMeter(self._sources(workers)) as meter:
                begin = time.time() + _LEAD_SECONDS
                await asyncio.sleep(_LEAD_SECONDS)
                async with asyncio.TaskGroup() as group:
                    drained = group.create_task(
                        workers.during(self._drained(connection, WARM_UP_JOBS + self._load.jobs, self._advance))
                    )
                    if self._load.rate is None:
                        await self._as_fast_as_possible(enqueue)
                    else:
                        await self._at_a_rate(enqueue, begin, self._load.rate)
                    enqueued = time.time()
                end = drained.result()
            left = await self._contender.rows(connection, self._load.jobs)
        return Window(begin, enqueued, end, meter.costs, left)

    async def backlog(self, connection: Connection, enqueue: Enqueue) -> Window:
        """Enqueue, then start the worker."""
        async with CostMeter(CostSources(processes=self._pids)) as filling:
            begin = time.time()
            await self._as_fast_as_possible(enqueue)
            enqueued = time.time()
        async with self._crew() as workers, CostMeter(self._sources(workers)) as meter:
            end = await workers.during(self._drained(connection, self._load.jobs, self._advance))
        left = await self._contender.rows(connection, self._load.jobs)
        return Window(begin, enqueued, end, meter.costs, left, filling.costs)

    def _crew(self) -> AbstractAsyncContextManager[Crew]:
        environment = {**self._contender.environment, DIRECTORY_VARIABLE: str(self._ledger)}
        return crew([self._contender.worker], environment=environment, directory=self._logs)

    def _sources(self, workers: Crew) -> CostSources:
        return CostSources(processes={**self._pids, "worker": workers.members[0][1].pid})

    async def _warm_up(self, connection: Connection, enqueue: Enqueue) -> None:
        await enqueue(self._load.payloads(self._load.jobs, self._load.jobs + WARM_UP_JOBS))
        await self._drained(connection, WARM_UP_JOBS)

    async def _as_fast_as_possible(self, enqueue: Enqueue) -> None:
        batch = self._contender.batch
        chunks = iter(range(0, self._load.jobs, batch))

        async def produce() -> None:
            for begin in chunks:
                await enqueue(self._load.payloads(begin, min(begin + batch, self._load.jobs)))

        async with asyncio.TaskGroup() as group:
            for _ in range(self._contender.producers):
                group.create_task(produce())

    async def _at_a_rate(self, enqueue: Enqueue, begin: float, rate: float) -> None:
        """Enqueue each job at its time, whether earlier ones are done or not."""
        async with asyncio.TaskGroup() as group:
            sent = 0
            while sent < self._load.jobs:
                due = min(int((time.time() - begin) * rate) + 1, self._load.jobs)
                if due > sent:
                    group.create_task(enqueue(self._load.payloads(sent, due)))
                    sent = due
                await asyncio.sleep(max(begin + sent / rate - time.time(), 0))

    async def _drained(
        self, connection: Connection, jobs: int, advance: Callable[[int], None] = lambda _: None
    ) -> float:
        """Wait until `jobs` have run and no row is left; return when that was.

        Raises:
            DelegatorError: the queue makes no progress.
        """
        seen, moved_at = count(self._ledger), time.monotonic()
        while True:
            started = count(self._ledger)
            if started > seen:
                advance(started - seen)
                seen, moved_at = started, time.monotonic()
            # A repeated job counts twice, so the table decides.
            if started >= jobs and not await self._contender.rows(connection, 1):
                return time.time()
            if time.monotonic() - moved_at > _STALL_SECONDS:
                raise DelegatorError(
                    f"{self._contender.name}: no progress for {_STALL_SECONDS:g} s; {started} of {jobs} jobs started"
                )
            await asyncio.sleep(_LOOK_SECONDS)


def judge(contender: str, load: BulkLoad, window: Window, executions: Executions) -> BulkResult:
    """Check every job, and compute the numbers.

    Args:
        contender: name of the queue.
        load: its load.
        window: the measured part.
        executions: what ran.
    """
    once = [number for number in range(load.jobs) if executions.times(number) == 1]
    completed = max(len(once) - window.left, 0)
    begin = window.begin
    if load.mode is Mode.BACKLOG and once:
        begin = min(executions.start(number) for number in once)
    waits = []
    if load.rate is not None:
        waits = [executions.start(number) - (window.begin + number / load.rate) for number in once]
    relays = [
        costs.processes["relay"].peak_rss_bytes
        for costs in (window.costs, window.fill)
        if costs is not None and "relay" in costs.processes
    ]
    return BulkResult(
        contender=contender,
        mode=load.mode,
        jobs=load.jobs,
        payload_bytes=load.payload_bytes,
        rate=load.rate,
        completed=completed,
        failed=load.jobs - completed,
        duration_s=window.end - begin,
        jobs_per_s=completed / (window.end - begin),
        enqueued_per_s=load.jobs / (window.enqueued - window.begin),
        job_start_ms=Latency.of(waits),
        relay_peak_rss_bytes=max(relays, default=None),
        cpu_ms_per_job={name: cost.cpu_s * 1000 / load.jobs for name, cost in window.costs.processes.items()},
    )
