"""Delegated calls of one workflow run, while they wait for their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from delegator_schema.options import TASK_QUEUE
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Header, Payload
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.converter import FailureConverter, PayloadConverter, WithSerializationContext
from temporalio.exceptions import ActivityError, FailureError
from temporalio.workflow import ActivityCancellationType, Info

from delegator.wire.contexts import JobOrigin
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.requests import JobRequest, JobSpec
from delegator.wire.values import ValueConverter

_UNREAD: Final = object()
WITHDRAWN: Final = Outcome(OutcomeStatus.CANCELED, b"")
"""The outcome of a call that was canceled before a local activity had it."""


@dataclass(frozen=True, slots=True)
class CallSpec:
    """What all calls of one type with the same options have in common."""

    job: JobSpec
    """Type, queue and options of the jobs."""
    return_type: Any
    """Type of the result; None: the payload converter chooses."""
    cancellation_type: ActivityCancellationType
    """What happens to the job when the caller is cancelled."""
    activity_id: str | None = None
    """The caller's id of the activity; None: the job's id."""
    summary: str | None = None
    """What the caller says about the call, for people who read the history."""
    event_groups: tuple[Any, ...] = ()
    """The SDK's `EventGroup`s of the call."""


class Caller(Protocol):
    """Waits for the outcomes of calls."""

    def add(self, call: Call) -> None:
        """Take a call that has no outcome yet."""

    def resolved(self, call: Call) -> None:
        """Note that a call has its outcome."""

    def fail(self, failure: BaseException) -> None:
        """Note that the calls could not be enqueued at all."""


class Call:
    """One delegated call."""

    __slots__ = ("caller", "is_cancelled", "job_id", "outcome", "request", "result", "sent", "sequence", "spec")

    def __init__(self, spec: CallSpec, request: JobRequest, caller: Caller) -> None:
        self.spec = spec
        self.request = request
        self.caller = caller
        self.job_id = ""
        self.sequence = -1
        self.outcome: Outcome | None = None
        self.result: Any = _UNREAD
        self.is_cancelled = False
        """Whether its job is asked to stop."""
        self.sent: asyncio.Future[None] | None = None
        """Done when the local activity that enqueues the call has ended; None: no local activity has the call yet."""

    def withdraw(self) -> None:
        """Cancel a call that no local activity has yet. It will not be enqueued."""
        self.resolve(WITHDRAWN)

    def resolve(self, outcome: Outcome) -> None:
        """Store the outcome and wake the caller. Call this once."""
        self.outcome = outcome
        self.caller.resolved(self)


class CallGroup:
    """Calls that one caller waits for together."""

    __slots__ = ("_converter", "_future", "_stop_early", "_unresolved", "calls", "failure", "first_failed")

    def __init__(self, *, stop_early: bool, converter: Converter | None = None) -> None:
        """Start without calls.

        Args:
            stop_early: wake the caller when a call fails.
            converter: reads each result when it arrives, while other jobs still run. Without it all results are read
                at the end.
        """
        self._converter = converter
        self.calls: list[Call] = []
        self.failure: BaseException | None = None
        """Set when the jobs could not be enqueued at all."""
        self.first_failed: Call | None = None
        """In a group that stops early: the call that stopped it. The caller raises its failure. When a workflow task is
        run again, outcomes of calls that were canceled because of it may arrive before the caller runs."""
        self._stop_early = stop_early
        self._unresolved = 0
        self._future: asyncio.Future[None] | None = None

    def add(self, call: Call) -> None:
        """Add a call that has no outcome yet."""
        self.calls.append(call)
        self._unresolved += 1

    def resolved(self, call: Call) -> None:
        """Note that a call has its outcome."""
        self._unresolved -= 1
        completed = call.outcome is not None and call.outcome.status is OutcomeStatus.COMPLETED
        if completed and self._converter is not None:
            self._converter.read(call)
        if self._stop_early and not completed and self.first_failed is None:
            self.first_failed = call
        if self._unresolved == 0 or self.first_failed is not None:
            self._wake()

    def fail(self, failure: BaseException) -> None:
        """Wake the caller with `failure` instead of outcomes."""
        self.failure = self.failure or failure
        self._wake()

    @property
    def ready(self) -> bool:
        """Whether the caller can go on."""
        return self._unresolved == 0 or self.failure is not None or self.first_failed is not None

    async def wait(self) -> None:
        """Wait until every call has its outcome or, if the group stops early, until one has failed."""
        while not self.ready:
            self._future = asyncio.get_running_loop().create_future()
            await self._future

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class _Bound(NamedTuple):
    """What converts the payloads of calls."""

    payloads: PayloadConverter
    values: ValueConverter
    failures: FailureConverter


class Converter:
    """Turns arguments into job inputs, and outcomes into results or exceptions."""

    __slots__ = ("_bound", "_by_type", "_info", "_is_default")

    def __init__(
        self,
        payloads: PayloadConverter,
        failures: FailureConverter,
        *,
        is_default: bool,
        info: Info | None = None,
    ) -> None:
        """Prepare.

        Args:
            payloads: the payload converter.
            failures: the failure converter.
            is_default: whether the payload converter is the SDK's default one.
            info: of the workflow, for serialization contexts; None: neither converter uses them.
        """
        self._bound = _Bound(payloads, ValueConverter(payloads, is_default=is_default), failures)
        self._is_default = is_default
        self._info = info
        self._by_type: dict[str, _Bound] = {}

    def _of(self, spec: CallSpec | None) -> _Bound:
        if self._info is None or spec is None:
            return self._bound
        key = spec.job.type
        bound = None if spec.activity_id is not None else self._by_type.get(key)
        if bound is None:
            context = _origin_of(spec, self._info).context
            payloads, _, failures = self._bound
            if isinstance(payloads, WithSerializationContext):
                payloads = payloads.with_context(context)
            if isinstance(failures, WithSerializationContext):
                failures = failures.with_context(context)
            bound = _Bound(payloads, ValueConverter(payloads, is_default=self._is_default), failures)
            if spec.activity_id is None:
                self._by_type[key] = bound
        return bound

    def input(self, args: Sequence[Any], spec: CallSpec | None = None) -> bytes:
        """Return the arguments of a call as a serialized `Payloads`.

        Args:
            args: the arguments.
            spec: the call's, for serialization contexts.
        """
        return self._of(spec).values.encode(args)

    @staticmethod
    def header(header: Mapping[str, Payload]) -> bytes:
        """Return a call's header as a serialized `Header`; empty if there is none."""
        return Header(fields=header).SerializeToString() if header else b""

    def read(self, call: Call) -> None:
        """Read the result of a completed call. If it can't be read, `result` raises the error."""
        with suppress(Exception):
            call.result = self.result(call)

    def result(self, call: Call) -> Any:
        """Return the result of a call that has its outcome.

        Raises:
            ActivityError: the job failed or was canceled; its cause says why.
        """
        if call.result is not _UNREAD:
            return call.result
        outcome = call.outcome
        if outcome is None:
            raise RuntimeError("the call has no outcome yet")
        if outcome.status is OutcomeStatus.COMPLETED:
            hints = None if call.spec.return_type is None else [call.spec.return_type]
            try:
                results = self._of(call.spec).values.decode(outcome.body, hints)
            except (FailureError, DecodeError):
                raise
            except Exception as error:
                raise RuntimeError(
                    f"Failed decoding arguments: the result of {call.spec.job.type} has another type, "
                    "or the http-worker has another data converter (DELEGATOR_DATA_CONVERTER)"
                ) from error
            return results[0] if results else None
        if not outcome.body:
            raise canceled_error(call)
        payloads, _, converter = self._of(call.spec)
        try:
            failure = Failure.FromString(outcome.body)
        except DecodeError:  # an older release stored a failure with more causes than a parser reads
            failure = _unreadable(call)
        if call.spec.activity_id is not None:
            failure.activity_failure_info.activity_id = call.spec.activity_id
        raise converter.from_failure(failure, payloads)


def _origin_of(spec: CallSpec, info: Info) -> JobOrigin:
    return JobOrigin(
        namespace=info.namespace,
        workflow_id=info.workflow_id,
        run_id=info.run_id,
        workflow_type=info.workflow_type,
        job_type=spec.job.type,
        activity_id=spec.activity_id,
        task_queue=(spec.job.options or {}).get(TASK_QUEUE) or info.task_queue,
    )


def _unreadable(call: Call) -> Failure:
    """Return the failure of a call in place of one that can't be read. The workflow must not wait for ever."""
    failure = Failure(message="Activity task failed")
    info = failure.activity_failure_info
    info.activity_type.name, info.activity_id = call.spec.job.type, call.job_id
    failure.cause.message = "the job failed, and its failure can't be read"
    failure.cause.application_failure_info.type = "UnreadableFailure"
    return failure


def canceled_error(call: Call) -> ActivityError:
    """Return the error of a call whose caller was canceled, in the form that Temporal gives it."""
    failure = Failure(message="Activity cancelled")
    info = failure.activity_failure_info
    info.activity_type.name, info.activity_id = call.spec.job.type, call.spec.activity_id or call.job_id
    info.retry_state = RetryState.RETRY_STATE_CANCEL_REQUESTED
    failure.cause.canceled_failure_info.SetInParent()
    error = FailureConverter.default.from_failure(failure, PayloadConverter.default)
    assert isinstance(error, ActivityError)
    return error


def outcome_of_removed(call: Call, outcome: Outcome) -> Outcome:
    """Return the outcome of a call whose job was removed before a worker took it.

    As with Temporal's activities, a call with TRY_CANCEL does not tell what its job had come to.

    Args:
        call: the call.
        outcome: what the local activity that removed the job returned. It does not name the job's type.
    """
    if call.spec.cancellation_type is ActivityCancellationType.TRY_CANCEL:
        return WITHDRAWN
    failure = Failure.FromString(outcome.body)
    failure.activity_failure_info.activity_type.name = call.spec.job.type
    return Outcome(outcome.status, failure.SerializeToString())
