"""Signs of life: tells the gateway that jobs still run, brings heartbeats there, and hears which jobs are to stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from temporalio.converter import DataConverter

from delegator.errors import GatewayError, WireError
from delegator.runtime.connection_state import ConnectionPart
from delegator.wire.worker_protocol import Answer, Beat, Extension
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics
from http_workers.via.client import GatewayClient
from http_workers.via.jobs import RemoteJob
from http_workers.via.stored import Stored

_LOOK_SECONDS: Final = 0.1
_BEAT_SECONDS: Final = 0.5
"""Heartbeats of a handler that follow each other sooner are sent together."""
_LONGEST_SILENCE_SECONDS: Final = 2.0
"""The reply to a sign of life tells of a cancellation."""
_SIGNS_PER_LEASE: Final = 4
_MOST: Final = 1_000
_LONGEST_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


class SignsOfLife:
    """Sends signs of life of the jobs that this worker holds, many in one request."""

    def __init__(
        self,
        *,
        client: GatewayClient,
        converter: DataConverter,
        state: ConnectionPart,
        held: Mapping[str, Job],
        running: Collection[Job],
        metrics: WorkerMetrics,
        lease_seconds: float,
    ) -> None:
        """Prepare.

        Args:
            client: of the gateway.
            converter: encodes heartbeat details.
            state: gets the gateway's health.
            held: the jobs that run, or have ended and are not reported. It changes.
            running: those that run. It changes.
            metrics: this process's series.
            lease_seconds: how long the worker may be silent.
        """
        self._client = client
        self._stored = Stored(converter)
        self._state = state
        self._held = held
        self._running = running
        self._metrics = metrics
        self._lease_seconds = lease_seconds
        self._limit_seconds = min(_LONGEST_SECONDS, lease_seconds / 3)

    async def run(self) -> None:
        """Send signs of life until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            self._lose_silent(now)
            held = [job for job in self._held.values() if isinstance(job, RemoteJob) and not job.lost]
            beating = [job for job in held if job.details_changed and now - job.beat_at >= _BEAT_SECONDS]
            told = set(beating)
            silent = [job for job in held if job not in told and now - job.signed_at >= _interval(job)]
            async with asyncio.TaskGroup() as group:
                for start in range(0, len(beating), _MOST):
                    group.create_task(self._beat(beating[start : start + _MOST]))
                for start in range(0, len(silent), _MOST):
                    group.create_task(self._extend(silent[start : start + _MOST]))

    def _lose_silent(self, now: float) -> None:
        """Stop jobs about which no sign of life was taken in time, because other workers may run them now."""
        late = [job for job in self._running if isinstance(job, RemoteJob) and now > job.lease_until and not job.lost]
        if late:
            self._metrics.leases_lost.inc()
        for job in late:
            _lose(job)

    async def _beat(self, jobs: Sequence[RemoteJob]) -> None:
        now = time.monotonic()
        entries = []
        for job in jobs:
            job.details_changed, job.beat_at = False, now
            details = await self._stored.details(job)
            beat = Beat(job.token, lease_seconds=self._lease_seconds)
            if details is not None:
                beat = Beat(job.token, payloads=details, lease_seconds=self._lease_seconds)
            entries.append(msgspec.json.encode(beat))
        answers = await self._send("heartbeat", jobs, entries)
        for job, answer in zip(jobs, answers, strict=False):
            if answer.status == "rejected":
                _log.error("heartbeat_not_stored", extra={"job_id": job.job_id, "reason": answer.code})
                job.signed_at = 0.0
            elif answer.status == "cancel":
                job.tell_of_cancellation()
        if not answers:
            for job in jobs:
                job.details_changed = True

    async def _extend(self, jobs: Sequence[RemoteJob]) -> None:
        entries = [msgspec.json.encode(Extension(job.token, self._lease_seconds)) for job in jobs]
        await self._send("extend", jobs, entries)

    async def _send(self, route: str, jobs: Sequence[RemoteJob], entries: Sequence[bytes]) -> list[Answer]:
        """Send signs of life and act on the answers. Return none if the gateway did not answer."""
        now = time.monotonic()
        for job in jobs:
            job.signed_at = now
        try:
            answers = await self._client.send(route, entries, self._limit_seconds)
        except (GatewayError, WireError) as error:
            self._state.lost(str(error))
            return []
        self._state.restored()
        for job, answer in zip(jobs, answers, strict=True):
            if answer.status == "lost":
                if job in self._running:
                    _lose(job)
            elif isinstance(answer.lease_seconds, float):
                job.lease_seconds = answer.lease_seconds
                job.lease_until = now + answer.lease_seconds
                if answer.status == "cancel" and not job.cancel_requested:
                    job.request_cancel()
        return answers


def _interval(job: RemoteJob) -> float:
    return min(job.lease_seconds / _SIGNS_PER_LEASE, _LONGEST_SILENCE_SECONDS)


def _lose(job: Job) -> None:
    if job.is_ours and job.timed_out is None:
        _log.warning("job_lost", extra={"job_id": job.job_id, "job_type": job.job_type})
    job.lose()
