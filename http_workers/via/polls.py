"""Takes jobs from the gateway: never more than there are free slots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from delegator.errors import GatewayError, WireError
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionPart
from delegator.runtime.liveness import Progress
from delegator.wire.worker_protocol import Poll
from http_workers.metrics import WorkerMetrics
from http_workers.slots import Slots
from http_workers.via.client import GatewayBusyError, GatewayClient, GatewayRefusedError
from http_workers.via.jobs import RemoteJob, remote_job

_WAIT_SECONDS: Final = 3.0
"""A worker that stops waits for the reply, because it may hold jobs."""
_MOST: Final = 1_000
_LONGEST_PAUSE: Final = timedelta(seconds=1)


class Polls:
    """Polls the gateway for jobs, in any number of loops."""

    def __init__(
        self,
        *,
        client: GatewayClient,
        queue: str,
        types: Sequence[str],
        lease_seconds: float,
        worker: str,
        slots: Slots,
        start: Callable[[RemoteJob], None],
        give_back: Callable[[RemoteJob], None],
        state: ConnectionPart,
        metrics: WorkerMetrics,
    ) -> None:
        """Prepare.

        Args:
            client: of the gateway.
            queue: the queue served.
            types: the delegated activity types that have handlers here.
            lease_seconds: how long the worker may be silent about a job.
            worker: its name, for people.
            slots: the worker's slots.
            start: runs a job; it frees the slot later.
            give_back: gives a job back that came when the worker was stopping.
            state: gets the gateway's health.
            metrics: this process's series.
        """
        self._client = client
        self._request: dict[str, Any] = {
            "queue": queue,
            "types": list(types),
            "lease_seconds": lease_seconds,
            "payloads": "raw",
            "call": True,
            "worker": worker,
        }
        self._slots = slots
        self._start = start
        self._give_back = give_back
        self._state = state
        self._metrics = metrics
        self._stopping = False
        self._between: set[asyncio.Task[None]] = set()
        """The loops that wait for no reply."""

    async def first(self) -> None:
        """Ask once without a wait, so that a wrong token, queue or type is known when the worker starts.

        Raises:
            GatewayError: the gateway can't be reached, or refuses.
            WireError: the reply is not what the protocol says.
        """
        taken = await self._slots.reserve(1)
        jobs: list[RemoteJob] = []
        try:
            jobs = await self._ask(taken, 0.0)
        finally:
            self._take(jobs, taken)

    def stop(self) -> None:
        """Let the loops end. Those that wait for a reply wait for it, because it may hold jobs."""
        self._stopping = True
        for task in self._between:
            task.cancel()

    async def run(self, progress: Progress, most: int) -> None:
        """Take jobs until `stop` is called.

        Args:
            progress: is marked in every turn.
            most: the most jobs of one request.
        """
        backoff = Backoff(longest=_LONGEST_PAUSE)
        while not self._stopping:
            taken = await self._reserve(progress, min(most, _MOST))
            if not taken:
                return
            progress.mark()
            pause = 0.0
            jobs: list[RemoteJob] = []
            try:
                jobs = await self._ask(taken, _WAIT_SECONDS)
            except GatewayBusyError as error:
                self._state.lost(str(error))
                pause = error.seconds
            except (GatewayError, WireError) as error:
                self._state.lost(str(error), refused=isinstance(error, GatewayRefusedError))
                pause = backoff.next()
            else:
                self._state.restored()
                backoff.reset()
            self._take(jobs, taken)
            if pause and not self._stopping:
                await self._between_requests(asyncio.sleep(pause))

    async def _reserve(self, progress: Progress, most: int) -> int:
        """Return the number of slots that were reserved; 0: the worker stops."""
        with progress.suspended():
            return await self._between_requests(self._slots.reserve(most)) or 0

    async def _between_requests(self, waits: Any) -> Any:
        """Wait for something, unless `stop` is called. Then return None."""
        task = asyncio.current_task()
        assert task is not None
        self._between.add(task)
        try:
            return await waits
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            return None
        finally:
            self._between.discard(task)

    async def _ask(self, most: int, seconds: float) -> list[RemoteJob]:
        bodies = await self._client.poll(Poll(max_jobs=most, wait_seconds=seconds, **self._request))
        self._metrics.last_poll.set_to_current_time()
        return [remote_job(body) for body in bodies]

    def _take(self, jobs: Sequence[RemoteJob], reserved: int) -> None:
        """Start jobs, and free the slots that no job needs."""
        started = 0 if self._stopping else len(jobs)
        self._slots.release(reserved - started)
        if jobs:
            self._metrics.claim_size.observe(len(jobs))
        for job in jobs:
            self._metrics.start_delay.observe(job.row.waited_seconds)
            if self._stopping:
                self._give_back(job)
            else:
                self._start(job)
