"""Stored outcomes of jobs that a Temporal activity task waits for, delivered by the task's token."""

from __future__ import annotations

import logging

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
)
from temporalio.client import Client
from temporalio.converter import PayloadCodec
from temporalio.service import RPCError, RPCStatusCode

from delegator.completion.namespaces import Namespaces
from delegator.errors import WireError, first_line
from delegator.runtime.backoff import Backoff
from delegator.wire.codec import decode_outcome, not_built
from delegator.wire.outcomes import OutcomeStatus

_log = logging.getLogger(__name__)
_PERMANENT = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNIMPLEMENTED})


class TaskOutcomes:
    """Completes, fails or cancels activity tasks with outcomes that are in rows."""

    def __init__(self, client: Client, namespaces: Namespaces, *, identity: str) -> None:
        """Prepare.

        Args:
            client: Temporal's client.
            namespaces: bounds the calls.
            identity: shown in history.
        """
        self._client = client
        self._namespaces = namespaces
        self._identity = identity

    async def deliver(
        self, namespace: str, token: bytes, status: str, stored: bytes, codec: PayloadCodec | None
    ) -> None:
        """Deliver an outcome. It returns if the task has ended already, and waits as long as Temporal does not answer.

        Args:
            namespace: of the task.
            token: the task's.
            status: of the outcome.
            stored: the outcome in its stored form.
            codec: the data converter's codec.

        Raises:
            WireError: the outcome can't be read.
        """
        failure = None if status == OutcomeStatus.COMPLETED.value else await _failure(status, stored, codec)
        backoff = Backoff()
        while True:
            try:
                async with self._namespaces.permit(namespace):
                    with self._namespaces.timed("RespondActivityTask"):
                        await self._respond(namespace, token, status, stored, failure)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return
                if error.status in _PERMANENT:
                    _log.error("completion_refused", extra={"status": error.status.name, "reason": first_line(error)})
                    return
                self._namespaces.failed(namespace, error)
                await backoff.sleep()
            except RuntimeError as error:  # a lazy client that could not connect
                self._namespaces.failed(namespace, error)
                await backoff.sleep()
            else:
                self._namespaces.works(namespace)
                return

    async def _respond(self, namespace: str, token: bytes, status: str, stored: bytes, failure: Failure | None) -> None:
        service = self._client.workflow_service
        if failure is None:
            await service.respond_activity_task_completed(
                RespondActivityTaskCompletedRequest(
                    namespace=namespace, task_token=token, result=Payloads.FromString(stored), identity=self._identity
                )
            )
        elif status == OutcomeStatus.CANCELED.value:
            await service.respond_activity_task_canceled(
                RespondActivityTaskCanceledRequest(namespace=namespace, task_token=token, identity=self._identity)
            )
        else:
            await service.respond_activity_task_failed(
                RespondActivityTaskFailedRequest(
                    namespace=namespace, task_token=token, failure=failure, identity=self._identity
                )
            )


async def _failure(status: str, stored: bytes, codec: PayloadCodec | None) -> Failure:
    """Return a stored failure as Temporal takes it: with its payloads encoded one by one."""
    outcome = await decode_outcome(status, stored, codec)
    try:
        failure = Failure.FromString(outcome.body)
    except DecodeError:
        raise WireError("a stored outcome can't be read") from None
    if failure.HasField("activity_failure_info"):  # the server adds this itself
        failure = failure.cause
    if failure.HasField("server_failure_info"):  # the server takes it from nobody else
        failure = failure.cause
    if failure.HasField("timeout_failure_info"):  # likewise
        ended = Failure(message=failure.message)
        ended.application_failure_info.type = "TimeoutError"
        failure = ended
    if codec is not None:
        try:
            await codec.encode_failure(failure)
        except Exception as problem:  # a codec may raise any error
            return not_built(problem)
    return failure
