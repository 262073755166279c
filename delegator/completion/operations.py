"""Carries out operations of the outbox: starts, signals and cancels workflows. Each may be repeated."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Any, Final

import orjson
from delegator_schema.outbox import CANCEL, SIGNAL, SIGNAL_WITH_START, START
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payloads
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from delegator.completion.runs import OPEN_STATUSES, RunKey, Runs, give_up
from delegator.postgres.outbox import Operation

_ANSWER_LIMIT: Final = timedelta(seconds=10)
_AWAY: Final = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED})
_REFUSED: Final = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE})
_NOT_YET: Final = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION})
_Request = (
    StartWorkflowExecutionRequest
    | SignalWorkflowExecutionRequest
    | SignalWithStartWorkflowExecutionRequest
    | RequestCancelWorkflowExecutionRequest
)


class Answer(Enum):
    """What Temporal said about an operation."""

    AWAY = "away"
    """It did not answer, or it has too much to do. This says nothing about the operation."""
    NOT_YET = "not_yet"
    """It does not know the target, or the target is not in the right state. Another process may still change that."""
    EXISTS = "exists"
    """The workflow exists, and the policy of the operation does not accept that."""
    REFUSED = "refused"
    """The same request will be refused again."""
    OTHER = "other"
    """Another error, perhaps only of this moment."""


def answer_in(error: Exception) -> Answer:
    """Return what an error of `Operations.carry_out` says."""
    if isinstance(error, UnreadableOperation):
        return Answer.REFUSED
    if not isinstance(error, RPCError) or error.status in _AWAY:
        return Answer.AWAY
    if error.status in _NOT_YET:
        return Answer.NOT_YET
    if error.status is RPCStatusCode.ALREADY_EXISTS:
        return Answer.EXISTS
    return Answer.REFUSED if error.status in _REFUSED else Answer.OTHER


class UnreadableOperation(Exception):
    """The row does not make a request."""


class Operations:
    """Sends operations to Temporal."""

    def __init__(self, client: Client, *, identity: str) -> None:
        """Prepare.

        Args:
            client: Temporal's client. Rows without a namespace get its namespace.
            identity: shown in history.
        """
        self._client = client
        self._service = client.workflow_service
        self._identity = identity
        self._runs = Runs(client, give_up)

    async def carry_out(self, row: Operation) -> None:
        """Send an operation. Its request id makes a repetition harmless.

        Raises:
            RPCError: Temporal refuses, or does not answer.
            RuntimeError: a lazy client could not connect.
            UnreadableOperation: the row does not make a request.
        """
        request = self.request_of(row)
        if isinstance(request, StartWorkflowExecutionRequest):
            await self._service.start_workflow_execution(request, timeout=_ANSWER_LIMIT)
        elif isinstance(request, SignalWorkflowExecutionRequest):
            await self._service.signal_workflow_execution(request, timeout=_ANSWER_LIMIT)
        elif isinstance(request, SignalWithStartWorkflowExecutionRequest):
            await self._signal_with_start(request)
        else:
            await self._cancel(request)

    async def _signal_with_start(self, request: SignalWithStartWorkflowExecutionRequest) -> None:
        """Signal the latest run, and start one only if that is not possible.

        If this operation was carried out before and the run has closed, Temporal accepts the signal once more by its
        request id. The other call would start a second run.
        """
        signal = SignalWorkflowExecutionRequest(
            namespace=request.namespace,
            signal_name=request.signal_name,
            identity=request.identity,
            request_id=request.request_id,
        )
        signal.workflow_execution.workflow_id = request.workflow_id
        if request.HasField("signal_input"):
            signal.input.CopyFrom(request.signal_input)
        try:
            await self._service.signal_workflow_execution(signal, timeout=_ANSWER_LIMIT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await self._service.signal_with_start_workflow_execution(request, timeout=_ANSWER_LIMIT)

    async def _cancel(self, request: RequestCancelWorkflowExecutionRequest) -> None:
        """Cancel a run. One that has closed needs no cancellation: for one, it closed because of this operation."""
        try:
            await self._service.request_cancel_workflow_execution(request, timeout=_ANSWER_LIMIT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            execution = request.workflow_execution
            described = await self._runs.describe(RunKey(request.namespace, execution.workflow_id, execution.run_id))
            if described is None or described.workflow_execution_info.status in OPEN_STATUSES:
                raise

    def request_of(self, row: Operation) -> _Request:
        """Return the request of a row.

        Raises:
            UnreadableOperation: the row does not make one.
        """
        try:
            options = orjson.loads(row.options) if row.options is not None else {}
            if not isinstance(options, dict):
                raise TypeError
            request: _Request = ParseDict(options, _KINDS[row.operation](), ignore_unknown_fields=True)
            payloads = Payloads.FromString(row.input or b"")
            signal_payloads = Payloads.FromString(row.signal_input or b"")
        except (KeyError, TypeError, ValueError, ParseError, DecodeError) as error:
            raise UnreadableOperation(type(error).__name__) from None
        request.namespace = row.namespace or self._client.namespace
        request.identity, request.request_id = self._identity, row.request_id
        if isinstance(request, StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest):
            request.workflow_id = row.workflow_id
            request.workflow_type.name, request.task_queue.name = row.workflow_type or "", row.task_queue or ""
        else:
            request.workflow_execution.workflow_id = row.workflow_id
        if payloads.payloads and not isinstance(request, RequestCancelWorkflowExecutionRequest):
            request.input.CopyFrom(payloads)
        if isinstance(request, SignalWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest):
            request.signal_name = row.name or ""
        if isinstance(request, SignalWithStartWorkflowExecutionRequest) and signal_payloads.payloads:
            request.signal_input.CopyFrom(signal_payloads)
        return request


_KINDS: Final[dict[str, type[Any]]] = {
    START: StartWorkflowExecutionRequest,
    SIGNAL: SignalWorkflowExecutionRequest,
    SIGNAL_WITH_START: SignalWithStartWorkflowExecutionRequest,
    CANCEL: RequestCancelWorkflowExecutionRequest,
}
