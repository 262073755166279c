"""Outcomes and heartbeats of jobs that the activity worker enqueued: a Temporal activity task waits for them.

Temporal owns their retries, timeouts and cancellation. "Not found" means that the task has ended already.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from temporalio.api.common.v1 import Payloads
from temporalio.api.workflowservice.v1 import (
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
)
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from delegator.errors import first_line
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionState
from delegator.wire.codec import encode_payloads
from http_workers.attempt import Ended
from http_workers.job import Job

_log = logging.getLogger(__name__)
_PERMANENT = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED})


class ActivityTasks:
    """Completes and heartbeats Temporal activity tasks by their token."""

    def __init__(self, client: Client, *, identity: str, state: ConnectionState) -> None:
        """Prepare.

        Args:
            client: Temporal's client.
            identity: shown in history.
            state: gets Temporal's health.
        """
        self._client = client
        self._identity = identity
        self._state = state

    def use_client(self, client: Client) -> None:
        """Use another client from here on."""
        self._client = client

    @property
    def _converter(self) -> DataConverter:
        return self._client.data_converter

    async def complete(self, ended: Ended) -> None:
        """Complete, fail or cancel the activity task of an attempt. It waits as long as Temporal does not answer."""
        backoff = Backoff()
        while True:
            try:
                await self._respond(ended)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return
                if error.status in _PERMANENT:
                    _log.error("completion_refused", extra={"status": error.status.name, "reason": first_line(error)})
                    return
                self._state.lost(first_line(error))
                await backoff.sleep()
            except RuntimeError as error:  # a lazy client that could not connect
                self._state.lost(first_line(error))
                await backoff.sleep()
            else:
                self._state.restored()
                return

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
                    details=Payloads.FromString(await self._encoded(job)),
                    identity=self._identity,
                )
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        job.cancel_requested = job.cancel_requested or reply.cancel_requested
        return True

    async def details(self, jobs: Sequence[Job]) -> list[tuple[str, int, bytes]]:
        """Return the heartbeat details that are not stored yet, in the form of the queue's statement."""
        beats = []
        for job in jobs:
            if job.details_changed:
                job.details_changed = False
                beats.append((*job.held, await self._encoded(job)))
        return beats

    async def last_details(self, jobs: Sequence[Job]) -> list[tuple[str, int, bytes]]:
        """Return every attempt's last heartbeat details, stored or not, in the same form.

        For the end of an attempt. A heartbeat that is being stored now may come after the change of the fencing token.
        """
        return [(*job.held, await self._encoded(job)) for job in jobs if job.details is not None]

    async def _encoded(self, job: Job) -> bytes:
        if not job.details:
            return b""
        return await encode_payloads(Payloads(payloads=job.details).SerializeToString(), self._converter.payload_codec)

    async def _respond(self, ended: Ended) -> None:
        service = self._client.workflow_service
        job = ended.job
        namespace = job.row.namespace or self._client.namespace
        token = job.row.task_token or b""
        if ended.result is not None:
            result = await encode_payloads(ended.result, self._converter.payload_codec)
            await service.respond_activity_task_completed(
                RespondActivityTaskCompletedRequest(
                    namespace=namespace, task_token=token, result=Payloads.FromString(result), identity=self._identity
                )
            )
        elif ended.failure is not None and ended.failure.HasField("canceled_failure_info"):
            await service.respond_activity_task_canceled(
                RespondActivityTaskCanceledRequest(namespace=namespace, task_token=token, identity=self._identity)
            )
        elif ended.failure is not None:
            failure = ended.failure
            if self._converter.payload_codec is not None:
                await self._converter.payload_codec.encode_failure(failure)
            await service.respond_activity_task_failed(
                RespondActivityTaskFailedRequest(
                    namespace=namespace,
                    task_token=token,
                    failure=failure,
                    identity=self._identity,
                    last_heartbeat_details=Payloads.FromString(await self._encoded(job)) if job.details else None,
                )
            )
