"""Completes attempts whose handlers have called `activity.raise_complete_async()`, as Temporal's server does.

A client does so by `client.get_async_activity_handle(...)`. Temporal does not know delegated jobs, so a client
interceptor brings these calls to the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from temporalio.activity import ActivityCancellationDetails
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.client import (
    AsyncActivityCancelledError,
    AsyncActivityIDReference,
    Client,
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    Interceptor,
    OutboundInterceptor,
    ReportCancellationAsyncActivityInput,
)
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import CancelledError
from temporalio.service import RPCError, RPCStatusCode

from delegator.completion.failures import (
    MAX_OUTCOME_BYTES,
    Ending,
    failed_outcome,
    failure_of,
    too_large,
    within_limit,
)
from delegator.completion.retry import GiveUp, decide
from delegator.contracts import JobOptions
from delegator.postgres.dead_letters import Reason
from delegator.wire.contexts import codec_of
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.task_tokens import TaskToken, unpack_task_token


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that a client may complete."""

    token: TaskToken
    """Names it."""
    job_type: str
    """The delegated activity type."""
    attempt: int
    """Its number."""
    options: JobOptions
    """The job's options."""
    workflow_id: str | None
    """The workflow that waits for the outcome; None: none does."""
    cancel_requested: bool
    """Whether the workflow asked the job to stop."""
    time_left: timedelta | None
    """Until the job's deadline; None: it has none."""


class OpenAttempts(Protocol):
    """Where the attempts are. Every method returns False or None if the attempt has ended."""

    async def by_token(self, token: TaskToken) -> OpenAttempt | None:
        """Return the attempt that a token names."""

    async def by_id(self, reference: AsyncActivityIDReference) -> OpenAttempt | None:
        """Return the attempt of a workflow's activity."""

    async def heartbeat(self, attempt: OpenAttempt, details: bytes, codec: PayloadCodec | None) -> bool | None:
        """Store a heartbeat's details, a serialized `Payloads`. Return whether the job was asked to stop."""

    async def resolve(
        self, attempt: OpenAttempt, outcome: Outcome, dead_letter_reason: Reason | None, codec: PayloadCodec | None
    ) -> bool:
        """Store the job's outcome, and have it delivered."""

    async def retry(self, attempt: OpenAttempt, failure: Failure, delay: timedelta, codec: PayloadCodec | None) -> bool:
        """Schedule the next attempt."""


class AsynchronousCompletion(Interceptor):
    """Brings completions, failures, cancellations and heartbeats of delegated jobs to the queue."""

    def __init__(self, attempts: OpenAttempts) -> None:
        """Prepare.

        Args:
            attempts: where the attempts are.
        """
        self._attempts = attempts

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """See the base class."""
        return _Outbound(next, self._attempts)


class _Outbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, attempts: OpenAttempts) -> None:
        super().__init__(next)
        self._attempts = attempts

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        if not _is_ours(input) and await self._temporal_has_it(super().complete_async_activity(input), input):
            return
        attempt, converter = await self._attempt(input), self._converter(input)
        # The SDK's value for a result that was not given is private.
        values = [] if type(input.result) is object else [input.result]
        body = Payloads(payloads=converter.payload_converter.to_payloads(values)).SerializeToString()
        if len(body) > MAX_OUTCOME_BYTES:
            raise too_large(f"the result of {attempt.job_type}", len(body), MAX_OUTCOME_BYTES)
        outcome = Outcome(OutcomeStatus.COMPLETED, body)
        _must(await self._attempts.resolve(attempt, outcome, None, codec_of(converter)))

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        if not _is_ours(input) and await self._temporal_has_it(super().fail_async_activity(input), input):
            return
        attempt, converter = await self._attempt(input), self._converter(input)
        codec = codec_of(converter)
        if input.last_heartbeat_details:
            details = _details(input.last_heartbeat_details, converter)
            _must(await self._attempts.heartbeat(attempt, details, codec) is not None)
        failure = within_limit(failure_of(input.error, converter))
        decision = decide(
            failure,
            attempt.options.retry_policy,
            attempt.attempt,
            attempt.time_left,
            cancel_requested=attempt.cancel_requested,
        )
        if not isinstance(decision, GiveUp):
            _must(await self._attempts.retry(attempt, failure, decision.delay, codec))
            return
        reason = None
        if decision.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED:
            reason = Reason.ATTEMPTS_EXHAUSTED
        elif attempt.workflow_id is None:
            reason = Reason.NON_RETRYABLE
        await self._end(attempt, failure, decision.retry_state, reason, codec)

    async def report_cancellation_async_activity(self, input: ReportCancellationAsyncActivityInput) -> None:
        if not _is_ours(input) and await self._temporal_has_it(
            super().report_cancellation_async_activity(input), input
        ):
            return
        attempt, converter = await self._attempt(input), self._converter(input)
        if not attempt.cancel_requested:
            raise RPCError("the job was not asked to stop", RPCStatusCode.INVALID_ARGUMENT, b"")
        failure = within_limit(failure_of(CancelledError("Cancelled", *input.details), converter))
        state = RetryState.RETRY_STATE_CANCEL_REQUESTED
        await self._end(attempt, failure, state, None, codec_of(converter), Ending.CANCELED)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        if not _is_ours(input) and await self._temporal_has_it(super().heartbeat_async_activity(input), input):
            return
        attempt, converter = await self._attempt(input), self._converter(input)
        details = _details(input.details, converter)
        cancel_requested = await self._attempts.heartbeat(attempt, details, codec_of(converter))
        _must(cancel_requested is not None)
        if cancel_requested:
            raise AsyncActivityCancelledError(details=ActivityCancellationDetails(cancel_requested=True))

    async def _end(
        self,
        attempt: OpenAttempt,
        failure: Failure,
        retry_state: RetryState.ValueType,
        reason: Reason | None,
        codec: PayloadCodec | None,
        ending: Ending = Ending.FAILED,
    ) -> None:
        outcome = failed_outcome(
            failure,
            job_id=attempt.token.job_id,
            job_type=attempt.job_type,
            identity=self._client.identity,
            retry_state=retry_state,
            ending=ending,
        )
        _must(await self._attempts.resolve(attempt, outcome, reason, codec))

    @staticmethod
    async def _temporal_has_it(call: Any, input: _Input) -> bool:
        """Return whether Temporal knows the activity. Only a workflow's id and an activity's may be ours then."""
        try:
            await call
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or isinstance(input.id_or_token, bytes):
                raise
            return False
        return True

    async def _attempt(self, input: _Input) -> OpenAttempt:
        reference = input.id_or_token
        if isinstance(reference, AsyncActivityIDReference):
            found = await self._attempts.by_id(reference)
        else:
            token = unpack_task_token(reference)
            assert token is not None
            found = await self._attempts.by_token(token)
        if found is None:
            raise _not_found()
        return found

    @property
    def _client(self) -> Client:
        # An outbound interceptor gets no client. The last one in the chain is the SDK's own, and has it.
        last: Any = self
        while isinstance(getattr(last, "next", None), OutboundInterceptor):
            last = last.next
        client = last._client
        assert isinstance(client, Client)
        return client

    def _converter(self, input: _Input) -> DataConverter:
        return input.data_converter_override or self._client.data_converter


_Input = (
    CompleteAsyncActivityInput
    | FailAsyncActivityInput
    | HeartbeatAsyncActivityInput
    | ReportCancellationAsyncActivityInput
)
_NOT_FOUND: Final = "no attempt of a delegated job waits for this: it has ended, or its job has"


def _is_ours(input: _Input) -> bool:
    """Return whether the token is of a delegated job.

    Raises:
        WireError: a later release wrote it.
    """
    return isinstance(input.id_or_token, bytes) and unpack_task_token(input.id_or_token) is not None


def _details(values: Any, converter: DataConverter) -> bytes:
    return Payloads(payloads=converter.payload_converter.to_payloads(values)).SerializeToString() if values else b""


def _must(is_open: bool) -> None:
    if not is_open:
        raise _not_found()


def _not_found() -> RPCError:
    return RPCError(_NOT_FOUND, RPCStatusCode.NOT_FOUND, b"")
