"""The run watch: ends the jobs of workflow runs that have closed, as Temporal ends their activities.

It may wait for Temporal. The sweeper does not wait for the run watch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError

from delegator.completion.closed_runs import MOST_RUNS, ClosedRuns, RunState
from delegator.completion.runs import RunKey
from delegator.errors import first_line
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.postgres.connections import Pool
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.queue_maintenance import BATCH, NO_RUN, MaintenanceStatements
from delegator.runtime.cancellation import run_apart
from delegator.runtime.exception_groups import unwrapped

_log = logging.getLogger(__name__)
_PARALLEL: Final = 10
"""Runs whose jobs are ended at a time."""
_SHARE: Final = 0.05
"""Largest share of the time in which this may keep the database busy."""


@dataclass(frozen=True, slots=True)
class RunWatchOptions:
    """Which runs are asked about, and how often."""

    interval: timedelta = timedelta(seconds=5)
    """Time between two questions about the same run, at least."""
    age: timedelta = timedelta(seconds=5)
    """Only runs are asked about whose jobs have been unfinished for this time."""
    kept: timedelta = timedelta(seconds=30)
    """Time until a closed run is asked about again whose jobs another run waits for."""
    calls_per_second: float = 50.0
    """Largest number of calls to Temporal in a second."""


class RunWatch:
    """Removes the waiting jobs of closed runs, and tells running ones to stop."""

    def __init__(
        self,
        queues: Sequence[str],
        *,
        pool: Pool,
        database: DatabaseWatch,
        client: Client,
        metrics: MaintenanceMetrics,
        options: RunWatchOptions | None = None,
    ) -> None:
        """Prepare the watch.

        Args:
            queues: the declared queues.
            pool: connections.
            database: gets each success and each error of these connections.
            client: Temporal's client.
            metrics: this process's series.
            options: how often it asks.
        """
        self._queues = [MaintenanceStatements(queue) for queue in queues]
        self._pool = pool
        self._database = database
        self._runs = ClosedRuns(client)
        self._metrics = metrics
        self._options = options or RunWatchOptions()
        self._ask_again_at: dict[str, float] = {}
        self._database_seconds = 0.0
        self._has_problem = False
        self._logged: str | None = None
        self._unknown: set[str] = set()
        """Namespaces about which Temporal did not answer in this pass."""
        self._confirmed: set[str] = set()
        """Namespaces in which Temporal has known a run of ours. A wrong address must not empty the queues."""

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                began = time.monotonic()
                try:
                    await run_apart(self.look())
                except Exception as error:
                    await self._database.failed(error)
                else:
                    self._database.works()
                pause = max(self._options.interval.total_seconds(), self._database_seconds / _SHARE)
                await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
        finally:
            self._database.ended()

    async def look(self) -> None:
        """Ask about every run once, and end the jobs of those that have closed."""
        self._has_problem = False
        self._unknown.clear()
        now = time.monotonic()
        self._ask_again_at = {run_id: at for run_id, at in self._ask_again_at.items() if at > now}
        self._database_seconds = 0.0
        problem: Exception | None = None
        for queue in self._queues:
            try:
                await self._look_at(queue)
            except Exception as error:  # the other queues do not wait for this one
                problem = problem or error
        if problem is not None:
            raise problem
        if not self._has_problem:
            self._logged = None

    async def _look_at(self, queue: MaintenanceStatements) -> None:
        after = NO_RUN
        while True:
            began = time.monotonic()
            async with self._pool.share(queue.table.queue).connection() as connection:
                runs = await queue.runs(connection, self._options.age, after)
            self._database_seconds += time.monotonic() - began
            by_namespace: dict[str, list[RunKey]] = defaultdict(list)
            for run in runs:
                key = RunKey(*run)
                if key.run_id not in self._ask_again_at and key.namespace not in self._unknown:
                    by_namespace[key.namespace].append(key)
            for namespace, keys in by_namespace.items():
                try:
                    await self._end_closed(queue, namespace, keys)
                except (RPCError, RuntimeError) as error:  # a lazy client that could not connect raises RuntimeError
                    self._warn(first_line(error))
                    self._unknown.add(namespace)
            if len(runs) < BATCH:
                break
            after = runs[-1][2]

    def _warn(self, reason: str) -> None:
        """Log why runs are not known, unless the last pass had the same reason."""
        self._has_problem = True
        if reason != self._logged:
            self._logged = reason
            _log.warning("runs_unknown", extra={"reason": reason})

    async def _end_closed(self, queue: MaintenanceStatements, namespace: str, keys: Sequence[RunKey]) -> None:
        for start in range(0, len(keys), MOST_RUNS):
            asked = keys[start : start + MOST_RUNS]
            await self._pace()
            running = await self._runs.running(namespace, [key.run_id for key in asked])
            closed, gone = await self._sort([key for key in asked if key.run_id not in running])
            if running or len(gone) < len(asked):
                self._confirmed.add(namespace)
            if namespace in self._confirmed:
                closed += gone
            elif gone:
                self._warn(
                    f"Temporal knows no run of namespace {namespace}: do TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE "
                    "name the right one?"
                )
            if closed:
                await self._end(queue, closed)

    async def _sort(self, keys: Sequence[RunKey]) -> tuple[list[RunKey], list[RunKey]]:
        """Return the runs that have closed, and those that Temporal does not know."""
        closed: list[RunKey] = []
        gone: list[RunKey] = []
        for key in keys:
            await self._pace()
            state = await self._runs.state(key)
            if state is RunState.CLOSED:
                closed.append(key)
            elif state is RunState.GONE:
                gone.append(key)
        return closed, gone

    async def _end(self, queue: MaintenanceStatements, closed: Sequence[RunKey]) -> None:
        began = time.monotonic()
        async with self._pool.share(queue.table.queue).connection() as connection:
            jobs = await queue.jobs_of_runs(connection, [key.run_id for key in closed])
        self._database_seconds += time.monotonic() - began
        tasks: dict[str, list[str]] = defaultdict(list)
        delegated: dict[str, list[str]] = defaultdict(list)
        for run_id, job_id, is_task in jobs:
            (tasks if is_task else delegated)[run_id].append(job_id)
        slots = asyncio.Semaphore(_PARALLEL)
        counts: list[tuple[int, int]] = []

        async def end(key: RunKey) -> None:
            async with slots:
                counts.append(await self._end_run(queue, key, tasks[key.run_id], delegated[key.run_id]))

        # A query waits for seconds if no worker answers. The other runs do not wait for it.
        with unwrapped():
            async with asyncio.TaskGroup() as group:
                for key in closed:
                    await self._pace()
                    group.create_task(end(key))
        removed, told = sum(count for count, _ in counts), sum(count for _, count in counts)
        if removed or told:
            name = queue.table.queue
            self._metrics.ended.labels(name, "removed").inc(removed)
            self._metrics.ended.labels(name, "told").inc(told)
            _log.info(
                "jobs_of_closed_runs_ended",
                extra={"queue": name, "runs": len(closed), "removed": removed, "told": told},
            )

    async def _end_run(
        self, queue: MaintenanceStatements, key: RunKey, tasks: Sequence[str], delegated: Sequence[str]
    ) -> tuple[int, int]:
        """End the jobs of a closed run. Return how many were removed, and how many were told to stop."""
        # An activity task ends with its run. After a reset Temporal makes another one.
        ended = list(tasks)
        if delegated:
            unwanted = await self._runs.unwanted(key, delegated)
            ended += unwanted
            if len(unwanted) < len(delegated):
                self._ask_again_at[key.run_id] = time.monotonic() + self._options.kept.total_seconds()
        removed = told = 0
        # By the run's id: a run that was reset since the answer has taken its jobs over.
        for start in range(0, len(ended), BATCH):
            async with self._pool.share(queue.table.queue).connection() as connection:
                gone, running = await queue.table.cancel(connection, ended[start : start + BATCH], key.run_id)
            removed, told = removed + len(gone), told + len(running)
        return removed, told

    async def _pace(self) -> None:
        await asyncio.sleep(1 / self._options.calls_per_second)
