"""What is the same for all checks: the worker's process, jobs, and their outcomes."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from delegator.config import Settings
from delegator.gateway.conformance.proxy import Fault, Proxy
from delegator.outbox import JobResults, Outbox
from delegator.postgres.connections import DatabaseAddress, connect
from delegator.postgres.job_views import JobSelection, JobViews
from delegator.postgres.queue_steering import SteeringStatements

PREFIX: Final = "conformance."
"""Begins the names of the types that the worker runs."""
_RETRY: Final = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=5)
_LIFE: Final = timedelta(minutes=2)
_KILL_AFTER_SECONDS: Final = 15.0
_LONGEST_CLEAN_UP_SECONDS: Final = 10.0
"""A job that is left after that ends by its own timeout."""
_LOOK_SECONDS: Final = 0.05


class CheckFailed(Exception):
    """The worker did not do what the protocol asks for."""


def require(condition: object, complaint: str) -> None:
    """Fail a check unless a condition holds.

    Raises:
        CheckFailed: it does not hold.
    """
    if not condition:
        raise CheckFailed(complaint)


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """The worker that is checked."""

    process: asyncio.subprocess.Process
    """Its process. The children of a shell belong to its group."""

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


class Suite:
    """What a check works with."""

    def __init__(
        self, settings: Settings, queue: str, proxy: Proxy, results: JobResults, command: Sequence[str], token: str
    ) -> None:
        """Prepare.

        Args:
            settings: where the database is.
            queue: takes the jobs.
            proxy: between the worker and the gateway.
            results: waits for outcomes.
            command: starts a worker.
            token: the worker's bearer token.
        """
        self._settings = settings
        self._queue = queue
        self.proxy = proxy
        self._results = results
        self._command = command
        self._token = token
        self._outbox = Outbox(settings)
        self._job_ids: list[str] = []

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[WorkerProcess]:
        """Run a worker. It is killed at the end if it does not stop by itself."""
        environment = {
            **os.environ,
            "GATEWAY_URL": self.proxy.url,
            "GATEWAY_TOKEN": self._token,
            "GATEWAY_QUEUE": self._queue,
        }
        process = await asyncio.create_subprocess_exec(*self._command, env=environment, start_new_session=True)
        try:
            yield WorkerProcess(process)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_KILL_AFTER_SECONDS):
                        await process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def new_id(self) -> str:
        """Return an id for a job."""
        self._job_ids.append(f"conformance-{uuid.uuid4()}")
        return self._job_ids[-1]

    async def enqueue(self, job_type: str, *args: Any, job_id: str = "") -> str:
        """Enqueue a job of a type of the suite. Return its id."""
        job_id = job_id or self.new_id()
        async with (
            await connect(DatabaseAddress.of(self._settings), application_name="conformance") as connection,
            connection.transaction(),
        ):
            await self._outbox.aio.enqueue(
                connection,
                PREFIX + job_type,
                *args,
                queue=self._queue,
                job_id=job_id,
                keep_result=True,
                retry_policy=_RETRY,
                schedule_to_close_timeout=_LIFE,
            )
        return job_id

    async def result(self, job_type: str, job_id: str) -> Any:
        """Wait for a job's result.

        Raises:
            CheckFailed: it failed.
        """
        try:
            return await self._results.wait(PREFIX + job_type, job_id, queue=self._queue)
        except ActivityError as error:
            raise CheckFailed(f"{job_type} failed: {error.cause}") from None

    async def failure(self, job_type: str, job_id: str) -> BaseException | None:
        """Wait for a job's failure, and return its cause.

        Raises:
            CheckFailed: it did not fail.
        """
        try:
            result = await self._results.wait(PREFIX + job_type, job_id, queue=self._queue)
        except ActivityError as error:
            return error.cause
        raise CheckFailed(f"{job_type} returned {result!r}, and did not fail")

    async def run(self, job_type: str, *args: Any) -> Any:
        """Enqueue a job, and return its result.

        Raises:
            CheckFailed: it failed.
        """
        return await self.result(job_type, await self.enqueue(job_type, *args))

    async def cancel(self, job_id: str) -> None:
        """Ask a job to stop as soon as it runs. It may have lost its lease, and wait for its next attempt."""
        statements = SteeringStatements(self._queue)
        async with await connect(DatabaseAddress.of(self._settings), application_name="conformance") as connection:
            while not await statements.ask_to_stop(connection, [job_id]):  # noqa: ASYNC110 - the event is in the database
                await asyncio.sleep(_LOOK_SECONDS)

    async def given(self, job_id: str, attempt: int = 1) -> str:
        """Wait until the worker has got an attempt of a job. Return its token."""
        await self.proxy.until(lambda _: self.proxy.token_of(job_id, attempt) is not None)
        token = self.proxy.token_of(job_id, attempt)
        assert token is not None
        return token

    async def beats(self, token: str, count: int) -> None:
        """Wait for heartbeats about a job."""
        await self.proxy.until(lambda _: self._beats(token) >= count)

    def _beats(self, token: str) -> int:
        return len(self.proxy.sent("heartbeat", token)) + len(self.proxy.sent("extend", token))

    @contextmanager
    def faults(self, fault: Callable[[str, Any], Fault | None]) -> Iterator[None]:
        """Answer requests as a function says, within the block."""
        self.proxy.faults.append(fault)
        try:
            yield
        finally:
            self.proxy.faults.remove(fault)

    async def clean_up(self) -> None:
        """Delete the jobs that no worker has ended."""
        statements, views = SteeringStatements(self._queue), JobViews(self._queue)
        left = JobSelection(job_ids=self._job_ids, states=("waiting", "running", "backing_off"))
        async with await connect(DatabaseAddress.of(self._settings), application_name="conformance") as connection:
            # A job that was released may be held by the gateway, for as long as it finds no poll for it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_CLEAN_UP_SECONDS):
                    while self._job_ids and await views.find(connection, left):
                        await statements.cancel_waiting(connection, [(job_id, b"") for job_id in self._job_ids])
                        await asyncio.sleep(_LOOK_SECONDS)
