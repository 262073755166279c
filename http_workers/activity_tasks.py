"""Outcomes and heartbeats of jobs that the activity worker enqueued: a Temporal activity task waits for them.

Temporal owns their retries, timeouts and cancellation. "Not found" means that the task has ended already.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from temporalio.activity import ActivityCancellationDetails
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
)
from temporalio.client import Client
from temporalio.converter import PayloadCodec
from temporalio.service import RPCError, RPCStatusCode

from delegator.completion.namespaces import SHORT_PATIENCE_SECONDS, Namespaces
from delegator.errors import first_line
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionState
from delegator.wire.codec import encode_payloads, not_built
from http_workers.attempt import Ended
from http_workers.job import Job

_log = logging.getLogger(__name__)
_PERMANENT = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED})


class ActivityTasks:
    """Completes and heartbeats Temporal activity tasks by their token."""

    def __init__(
        self, client: Client, *, identity: str, state: ConnectionState, patience: timedelta = timedelta(seconds=30)
    ) -> None:
        """Prepare.

        Args:
            client: Temporal's client.
            identity: shown in history.
            state: gets Temporal's health.
            patience: how long an attempt's end is sent again while Temporal does not take it.
        """
        self._client = client
        self._identity = identity
        self._namespaces = Namespaces(state)
        self._patience_seconds = patience.total_seconds()
        self._hurried = asyncio.Event()

    def use_client(self, client: Client) -> None:
        """Use another client from here on."""
        self._client = client

    def hurry(self) -> None:
        """Send nothing again from now on, because the process ends soon."""
        self._hurried.set()

    async def complete(self, ended: Ended) -> bool:
        """Complete, fail or cancel the activity task of an attempt. Return False if Temporal has refused for long.

        It waits while Temporal does not answer, as long as this is patient.
        """
        backoff = Backoff()
        namespace = ended.job.row.namespace or self._client.namespace
        patience = self._patience_seconds
        if self._namespaces.refuses(namespace):
            patience = min(patience, SHORT_PATIENCE_SECONDS)
        give_up_at = time.monotonic() + patience
        while True:
            try:
                async with self._namespaces.permit(namespace):
                    await self._respond(ended)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return True
                if error.status in _PERMANENT:
                    _log.error("completion_refused", extra={"status": error.status.name, "reason": first_line(error)})
                    return True
                self._namespaces.failed(namespace, error)
            except RuntimeError as error:  # a lazy client that could not connect
                self._namespaces.failed(namespace, error)
            else:
                self._namespaces.works(namespace)
                return True
            if self._hurried.is_set() or time.monotonic() > give_up_at:
                return False
            await backoff.sleep(self._hurried)

    async def heartbeat(self, job: Job) -> bool:
        """Send a heartbeat to Temporal. Return whether the task still waits. This sets the job's cancellation request.

        Raises:
            RPCError: Temporal does not answer.
        """
        try:
            reply = await self._client.workflow_service.record_activity_task_heartbeat(
                RecordActivityTaskHeartbeatRequest(
                    namespace=job.row.namespace or self._client.namespace,
                    task_token=job.row.task_token or b"",
                    details=Payloads.FromString(await self._encoded(job) or b""),
                    identity=self._identity,
                )
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        job.cancel_requested = job.cancel_requested or reply.cancel_requested
        if reply.activity_paused or reply.activity_reset:
            job.tell_of_stop(ActivityCancellationDetails(paused=reply.activity_paused, reset=reply.activity_reset))
        return True

    async def details(self, jobs: Sequence[Job]) -> list[tuple[str, int, bytes]]:
        """Return the heartbeat details that are not stored yet, in the form of the queue's statement."""
        changed = [job for job in jobs if job.details_changed]
        for job in changed:
            job.details_changed = False
        return await self._encoded_all(changed)

    async def last_details(self, jobs: Sequence[Job]) -> list[tuple[str, int, bytes]]:
        """Return every attempt's last heartbeat details, stored or not, in the same form.

        For the end of an attempt. A heartbeat that is being stored now may come after the change of the fencing token.
        """
        return await self._encoded_all([job for job in jobs if job.details is not None])

    async def _encoded_all(self, jobs: Sequence[Job]) -> list[tuple[str, int, bytes]]:
        beats = [(job.held, await self._encoded(job)) for job in jobs]
        return [(*held, details) for held, details in beats if details is not None]

    async def _encoded(self, job: Job) -> bytes | None:
        """Return the details of the last heartbeat; None: they can't be encoded. The attempt goes on without them."""
        if not job.details:
            return b""
        try:
            return await self._encode(job, job.details)
        except Exception as error:  # a codec may raise any error
            _log.error("heartbeat_not_stored", extra={"job_id": job.job_id, "reason": type(error).__name__})
            return None

    async def _encode(self, job: Job, details: Sequence[Payload]) -> bytes:
        return await encode_payloads(Payloads(payloads=details).SerializeToString(), self._codec_of(job))

    def _codec_of(self, job: Job) -> PayloadCodec | None:
        return self._client.data_converter.payload_codec if job.conversion is None else job.conversion.codec

    async def _encoded_failure(self, job: Job, failure: Failure) -> Failure:
        """Return a failure with its payloads encoded. A failure that can't be encoded is replaced, as by the SDK."""
        if failure.HasField("server_failure_info"):  # the server takes it from nobody else
            failure = failure.cause
        codec = self._codec_of(job)
        if codec is None:
            return failure
        encoded = Failure()
        encoded.CopyFrom(failure)
        try:
            await codec.encode_failure(encoded)
        except Exception as problem:
            return not_built(problem)
        return encoded

    async def _respond(self, ended: Ended) -> None:
        service = self._client.workflow_service
        job = ended.job
        namespace = job.row.namespace or self._client.namespace
        token = job.row.task_token or b""
        if ended.result is not None:
            result = ended.result if ended.stored is None else ended.stored
            await service.respond_activity_task_completed(
                RespondActivityTaskCompletedRequest(
                    namespace=namespace, task_token=token, result=Payloads.FromString(result), identity=self._identity
                )
            )
        elif job.cancel_requested and ended.failure is not None and ended.failure.HasField("canceled_failure_info"):
            await service.respond_activity_task_canceled(
                RespondActivityTaskCanceledRequest(namespace=namespace, task_token=token, identity=self._identity)
            )
        elif ended.failure is not None:
            failure = await self._encoded_failure(job, ended.failure)
            details = await self._encoded(job)
            await service.respond_activity_task_failed(
                RespondActivityTaskFailedRequest(
                    namespace=namespace,
                    task_token=token,
                    failure=failure,
                    identity=self._identity,
                    last_heartbeat_details=Payloads.FromString(details) if details else None,
                )
            )
