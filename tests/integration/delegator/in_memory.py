"""The testing engine in the place of a whole one, for the scenarios that must go alike on both."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from delegator import DelegatorPlugin, PluginOptions, Settings
from delegator.contracts import collect_handlers
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.postgres.lease_keeper import holder_name
from delegator.runtime.temporal_client import load_data_converter
from delegator.testing import DelegatorTestPlugin, JobRecord, JobStatus
from tests.integration.delegator import failing, flows, other_tasks, queued_tasks, tasks
from tests.integration.delegator.environment import PATIENT, SHARED_MODULES, Environment, SeenDeadLetter, SeenJob


class InMemoryEnvironment(Environment):
    """What a test works with when handlers run in its own process."""

    def __init__(self, client: Client, directory: Path, *, runs_jobs: bool, search_attributes: bool = False) -> None:
        super().__init__(client, Settings.model_construct(), directory, {})
        self._runs_jobs = runs_jobs
        self._search_attributes = search_attributes
        self._plugins: list[DelegatorTestPlugin] = []

    def plugin(self, options: PluginOptions = PATIENT, *, intercept: bool | None = None) -> DelegatorPlugin:
        plugin = DelegatorTestPlugin(
            [tasks, failing],
            fakes={tasks.elsewhere: other_tasks.move, queued_tasks.in_other_queue: other_tasks.treble},
            options=options,
            intercept=intercept,
            skip_retry_delays=False,
            paused=not self._runs_jobs,
            search_attributes=self._search_attributes,
        )
        self._plugins.append(plugin)
        return plugin

    def searchable(self) -> Environment:
        return InMemoryEnvironment(self.client, self.directory, runs_jobs=self._runs_jobs, search_attributes=True)

    @asynccontextmanager
    async def http_worker(self, *arguments: str, **options: Any) -> AsyncIterator[Any]:
        """Run jobs from now on: the engine has the handlers of all modules and all queues."""
        self._runs_jobs = True
        for plugin in self._plugins:
            plugin.engine.resume()
        yield None

    @asynccontextmanager
    async def activity_worker(self) -> AsyncIterator[str]:
        """Run an ordinary Temporal worker with the handlers as its activities: its task queue."""
        task_queue = f"queue-{uuid.uuid4()}"
        with ThreadPoolExecutor() as threads:
            async with Worker(
                self.client,
                task_queue=task_queue,
                workflows=flows.ALL,
                activities=[handler.function for handler in collect_handlers([tasks]).values()],
                activity_executor=threads,
                default_heartbeat_throttle_interval=timedelta(milliseconds=100),
                plugins=[self.plugin()],
                workflow_runner=SHARED_MODULES,
            ):
                yield task_queue

    def records(self) -> list[JobRecord]:
        """Return every job that was enqueued."""
        return [job for plugin in self._plugins for job in plugin.engine.jobs]

    @asynccontextmanager
    async def paused(self, job_type: str) -> AsyncIterator[None]:
        for plugin in self._plugins:
            plugin.engine.pause(job_type)
        try:
            yield
        finally:
            for plugin in self._plugins:
                plugin.engine.resume(job_type)

    async def jobs(self, workflow_id: str) -> list[SeenJob]:
        return [
            SeenJob(
                is_finished=job.is_finished,
                cancel_requested=job.cancel_requested,
                is_awaited=job.is_awaited,
                retry_in=job.attempts[-1].retry_delay if job.status is JobStatus.BACKING_OFF else None,
            )
            for job in self.records()
            if job.workflow_id == workflow_id and job.delivery is None
        ]

    async def dead_letters(self, workflow_id: str) -> list[SeenDeadLetter]:
        return [
            SeenDeadLetter(
                job.dead_letter,
                error_type(job.error),
                job.job_type,
                len(job.attempts),
                job.queue,
                is_complete=bool(job.args and job.error),
            )
            for job in self.records()
            if job.workflow_id == workflow_id and job.dead_letter is not None
        ]

    async def unfinished(self) -> list[Any]:
        return [job for job in self.records() if job.delivery is None]

    async def stored(self) -> list[Any]:
        return []

    async def query(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        raise AssertionError("this test is about PostgreSQL: mark it `postgres_only`")


def error_type(error: BaseException | None) -> str:
    assert isinstance(error, ActivityError)
    return error.cause.type or "" if isinstance(error.cause, ApplicationError) else type(error.cause).__name__


@asynccontextmanager
async def in_memory_environment(
    temporal: TemporalServer,
    *,
    queues: tuple[str, ...] = (),
    data_converter: str | None = None,
    http_worker: bool = True,
) -> AsyncIterator[Environment]:
    """Use the testing engine, which serves every queue; without an HTTP worker, one that runs no jobs."""
    client = await Client.connect(
        temporal.address,
        namespace=NAMESPACE,
        data_converter=load_data_converter(data_converter),
        identity=f"test {holder_name()}",
    )
    yield InMemoryEnvironment(client, Path(os.environ[tasks.DIRECTORY_VARIABLE]), runs_jobs=http_worker)
