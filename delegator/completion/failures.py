"""Makes every failure of the engine in the form that Temporal users expect: an activity failure with a cause.

A failure that Temporal's server makes for an ordinary activity (a timeout, a cancellation, a failure that is too large)
is made here as the server makes it. No converter takes part, so a converter that raises can't prevent it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import RetryState
from temporalio.api.enums.v1 import TimeoutType as TimeoutTypeNumber
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, TimeoutType

from delegator.completion.causes import cut_failure, cut_short
from delegator.wire.codec import not_built
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.requests import PAYLOADS_TOO_LARGE

MAX_INPUT_BYTES = 2 * 1024 * 1024
"""Temporal's limit of a payload. It holds for the arguments of a job."""

MAX_OUTCOME_BYTES = 2 * 1024 * 1024 - 64 * 1024
"""Temporal's limit of a payload, minus what a signal and a codec add."""

NO_TIME_TO_RETRY: Final = (
    "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"
)
"""The server's message when an attempt has timed out, and the job's time ends before the next one."""

_SERVER: Final = "Server"
_TOO_LARGE: Final = "[TMPRL1103] Attempted to upload payloads with size that exceeded the error limit."
_NOT_STARTED: Final = Payload(metadata={"encoding": b"json/plain"}, data=b'"ACTIVITY_ID_NOT_STARTED"')
_KEPT_CHARACTERS = 8_000
_LONGEST_TYPE = 200
_TIMEOUT_NAMES = {
    TimeoutType.START_TO_CLOSE: "StartToClose",
    TimeoutType.SCHEDULE_TO_START: "ScheduleToStart",
    TimeoutType.SCHEDULE_TO_CLOSE: "ScheduleToClose",
    TimeoutType.HEARTBEAT: "Heartbeat",
}
"""The names that Temporal's server uses. Users write them in `non_retryable_error_types`."""


class Ending(Enum):
    """How an attempt ended that is not repeated. The value is the message of the activity failure."""

    FAILED = "Activity task failed"
    TIMED_OUT = "Activity task timed out"
    CANCELED = "Activity cancelled"


def failure_of(error: BaseException, converter: DataConverter) -> Failure:
    """Return the failure of a handler's error: type, message, details, non-retryable flag and stack trace.

    The failure converter makes it, as for an ordinary activity. The codec is applied later, when it is stored. If the
    failure converter raises, the failure says so, with the SDK's words. A chain of causes that is too long is cut.
    """
    failure = Failure()
    try:
        with cut_short(error):
            converter.failure_converter.to_failure(error, converter.payload_converter, failure)
        return cut_failure(failure)
    except BaseException as problem:  # `__str__` of the user's error may raise anything
        return not_built(problem)


def failure_of_type(error: BaseException) -> Failure:
    """Return the failure of an error about which nothing but its type can be trusted."""
    failure = Failure(message=f"the attempt ended with {type(error).__name__}")
    failure.application_failure_info.type = type(error).__name__
    return failure


def canceled(*, is_started: bool = True) -> Failure:
    """Return the failure of a job that its workflow cancelled.

    Args:
        is_started: whether a worker had taken it.
    """
    failure = Failure()
    failure.canceled_failure_info.SetInParent()
    if not is_started:
        failure.canceled_failure_info.details.payloads.append(_NOT_STARTED)
    return failure


def timed_out(
    timeout_type: TimeoutType, heartbeat_details: Iterable[Payload] = (), message: str | None = None
) -> Failure:
    """Return the failure of a job or of an attempt that took too long.

    Args:
        timeout_type: which timeout.
        heartbeat_details: those of the last heartbeat, of this attempt or of an earlier one.
        message: the message; None: the server's usual one.
    """
    failure = Failure(message=message or f"activity {timeout_name(timeout_type)} timeout", source=_SERVER)
    info = failure.timeout_failure_info
    info.timeout_type = TimeoutTypeNumber.ValueType(timeout_type)
    details = list(heartbeat_details)
    if details:
        info.last_heartbeat_details.payloads.extend(details)
    return failure


def no_time_to_retry(timed_out_attempt: Failure) -> Failure:
    """Return the failure of a timed-out attempt whose job has no time for another one.

    Args:
        timed_out_attempt: the attempt's failure.
    """
    details = timed_out_attempt.timeout_failure_info.last_heartbeat_details.payloads
    return timed_out(TimeoutType.SCHEDULE_TO_CLOSE, details, NO_TIME_TO_RETRY)


def overdue(attempt: int, heartbeat_details: Iterable[Payload], last_failure: Failure | None) -> Failure:
    """Return the failure of a job whose time has ended while no worker ran it.

    Args:
        attempt: number of the last attempt; 0: there was none.
        heartbeat_details: those of the last heartbeat.
        last_failure: the last attempt's failure, if it is known.
    """
    if attempt:
        failure = timed_out(TimeoutType.SCHEDULE_TO_CLOSE, heartbeat_details, NO_TIME_TO_RETRY)
    else:  # the server's choice, also for a job that has a schedule-to-close timeout only
        failure = timed_out(TimeoutType.SCHEDULE_TO_START)
    return caused_by(failure, last_failure)


def caused_by(timeout: Failure, last_failure: Failure | None) -> Failure:
    """Return the failure of a timeout with the failure of the attempt before as its cause.

    Args:
        timeout: the failure. It is changed.
        last_failure: the last attempt's failure, if it is known.
    """
    if last_failure is not None:
        timeout.cause.CopyFrom(last_failure)
        if last_failure.source == _SERVER and last_failure.HasField("timeout_failure_info"):
            timeout.cause.timeout_failure_info.ClearField("last_heartbeat_details")
    return timeout


def timeout_name(timeout_type: TimeoutType) -> str:
    """Return the name that Temporal's server gives a timeout."""
    return _TIMEOUT_NAMES[timeout_type]


def result_too_large() -> Failure:
    """Return the failure of an attempt whose result exceeds Temporal's limit, as the SDK's activity worker makes it.

    It is retryable, because the next release of the handler may return less.
    """
    failure = Failure(message=_TOO_LARGE)
    failure.application_failure_info.type = PAYLOADS_TOO_LARGE
    return failure


def too_large(what: str, size_bytes: int, limit_bytes: int) -> ApplicationError:
    """Return the error of a job whose payload exceeds Temporal's limit.

    Args:
        what: names the payload; the message begins with it.
        size_bytes: its size.
        limit_bytes: the limit.
    """
    return ApplicationError(
        f"[TMPRL1103] {what} takes {size_bytes} bytes, over the limit of {limit_bytes}: pass a reference to the data, "
        "or give the data converter an external storage",
        type=PAYLOADS_TOO_LARGE,
        non_retryable=True,
    )


def error_type(failure: Failure) -> str:
    """Return the type of the error behind a failure, for logs and dead letters. It never holds a message."""
    if failure.HasField("application_failure_info"):
        return failure.application_failure_info.type[:_LONGEST_TYPE].replace("\0", "") or "ApplicationError"
    if failure.HasField("canceled_failure_info"):
        return "CancelledError"
    if failure.HasField("timeout_failure_info"):
        return "TimeoutError"
    return "Error"


def within_limit(failure: Failure, limit_bytes: int = MAX_OUTCOME_BYTES) -> Failure:
    """Return a failure, or the server's one in its place if it is too large.

    Args:
        failure: a handler's failure.
        limit_bytes: largest size.
    """
    if failure.ByteSize() <= limit_bytes:
        return failure
    replacement = Failure(message="Failure exceeds size limit.")
    replacement.server_failure_info.non_retryable = True
    kept = replacement.cause
    kept.message, kept.source = failure.message[:_KEPT_CHARACTERS], failure.source
    kept.stack_trace = failure.stack_trace[:_KEPT_CHARACTERS]
    if failure.HasField("application_failure_info"):
        kept.application_failure_info.type = failure.application_failure_info.type[:_KEPT_CHARACTERS]
        kept.application_failure_info.non_retryable = failure.application_failure_info.non_retryable
    return replacement


def failed_outcome(
    cause: Failure,
    *,
    job_id: str,
    job_type: str,
    identity: str,
    retry_state: RetryState.ValueType,
    ending: Ending = Ending.FAILED,
) -> Outcome:
    """Return the outcome of a job that failed for good.

    Args:
        cause: the last attempt's failure.
        job_id: the job.
        job_type: its delegated activity type.
        identity: the worker that ran it. The failure of a timeout names none, as Temporal's.
        retry_state: why it is not tried again.
        ending: how the last attempt ended.
    """
    status = OutcomeStatus.CANCELED if ending is Ending.CANCELED else OutcomeStatus.FAILED
    failure = Failure(message=ending.value)
    info = failure.activity_failure_info
    info.identity = "" if ending is Ending.TIMED_OUT else identity
    info.activity_type.name = job_type
    info.activity_id = job_id
    info.retry_state = retry_state
    failure.cause.CopyFrom(cause)
    return Outcome(status, failure.SerializeToString())


def refused_outcome(
    error: ApplicationError, converter: DataConverter, *, job_id: str, job_type: str, identity: str
) -> Outcome:
    """Return the outcome of a job that is refused before it is enqueued.

    Args:
        error: why it is refused.
        converter: the client's data converter.
        job_id: the job.
        job_type: its delegated activity type.
        identity: the process that refuses it.
    """
    return failed_outcome(
        failure_of(error, converter),
        job_id=job_id,
        job_type=job_type,
        identity=identity,
        retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
    )


def canceled_outcome(*, job_id: str, job_type: str, identity: str) -> Outcome:
    """Return the outcome of a job that was removed before a worker took it.

    Args:
        job_id: the job.
        job_type: its delegated activity type.
        identity: the process that removed it.
    """
    return failed_outcome(
        canceled(is_started=False),
        job_id=job_id,
        job_type=job_type,
        identity=identity,
        retry_state=RetryState.RETRY_STATE_CANCEL_REQUESTED,
        ending=Ending.CANCELED,
    )
