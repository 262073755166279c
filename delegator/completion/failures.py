"""Makes every failure of the engine in the form that Temporal users expect: an activity failure with a cause."""

from __future__ import annotations

from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutError, TimeoutType

from delegator.wire.outcomes import Outcome, OutcomeStatus

MAX_INPUT_BYTES = 2 * 1024 * 1024
"""Temporal's limit of a payload. It holds for the arguments of a job."""

MAX_OUTCOME_BYTES = 2 * 1024 * 1024 - 64 * 1024
"""Temporal's limit of a payload, minus what a signal and a codec add."""

_KEPT_CHARACTERS = 8_000
_TIMEOUT_NAMES = {
    TimeoutType.START_TO_CLOSE: "StartToClose",
    TimeoutType.SCHEDULE_TO_START: "ScheduleToStart",
    TimeoutType.SCHEDULE_TO_CLOSE: "ScheduleToClose",
    TimeoutType.HEARTBEAT: "Heartbeat",
}
"""The names that Temporal's server uses. Users write them in `non_retryable_error_types`."""


def failure_of(error: BaseException, converter: DataConverter) -> Failure:
    """Return the failure of a handler's error: type, message, details, non-retryable flag and stack trace.

    The failure converter makes it, as for an ordinary activity. The codec is applied later, when it is stored.
    """
    failure = Failure()
    converter.failure_converter.to_failure(error, converter.payload_converter, failure)
    return failure


def canceled(converter: DataConverter) -> Failure:
    """Return the failure of a job that its workflow cancelled."""
    return failure_of(CancelledError("Cancelled"), converter)


def timed_out(timeout_type: TimeoutType, converter: DataConverter) -> Failure:
    """Return the failure of a job or of an attempt that took too long."""
    message = f"activity {timeout_name(timeout_type)} timeout"
    return failure_of(TimeoutError(message, type=timeout_type, last_heartbeat_details=[]), converter)


def timeout_name(timeout_type: TimeoutType) -> str:
    """Return the name that Temporal's server gives a timeout."""
    return _TIMEOUT_NAMES[timeout_type]


def too_large(what: str, size_bytes: int, limit_bytes: int) -> ApplicationError:
    """Return the error of a job whose payload exceeds Temporal's limit.

    Args:
        what: names the payload; the message begins with it.
        size_bytes: its size.
        limit_bytes: the limit.
    """
    return ApplicationError(
        f"{what} takes {size_bytes} bytes, over the limit of {limit_bytes}: pass a reference to the data instead",
        type="PayloadTooLarge",
        non_retryable=True,
    )


def error_type(failure: Failure) -> str:
    """Return the type of the error behind a failure, for logs and dead letters. It never holds a message."""
    if failure.HasField("application_failure_info"):
        return failure.application_failure_info.type.replace("\0", "") or "ApplicationError"
    if failure.HasField("canceled_failure_info"):
        return "CancelledError"
    if failure.HasField("timeout_failure_info"):
        return "TimeoutError"
    return "Error"


def within_limit(failure: Failure, limit_bytes: int = MAX_OUTCOME_BYTES) -> Failure:
    """Return a failure. If it is too large, its details and causes are removed.

    Args:
        failure: a handler's failure.
        limit_bytes: largest size.
    """
    size_bytes = failure.ByteSize()
    if size_bytes <= limit_bytes:
        return failure
    kept = Failure(
        message=(
            f"{failure.message[:_KEPT_CHARACTERS]} "
            f"(the failure took {size_bytes} bytes, over the limit of {limit_bytes}: details cut)"
        ),
        source=failure.source,
        stack_trace=failure.stack_trace[:_KEPT_CHARACTERS],
    )
    if failure.HasField("application_failure_info"):
        kept.application_failure_info.CopyFrom(failure.application_failure_info)
        kept.application_failure_info.ClearField("details")
    elif failure.HasField("timeout_failure_info"):
        kept.timeout_failure_info.timeout_type = failure.timeout_failure_info.timeout_type
    elif failure.HasField("canceled_failure_info"):
        kept.canceled_failure_info.SetInParent()
    return kept


def failed_outcome(
    cause: Failure, *, job_id: str, job_type: str, identity: str, retry_state: RetryState.ValueType
) -> Outcome:
    """Return the outcome of a job that failed for good.

    Args:
        cause: the last attempt's failure.
        job_id: the job.
        job_type: its delegated activity type.
        identity: the worker that ran it.
        retry_state: why it is not tried again.
    """
    status = OutcomeStatus.CANCELED if cause.HasField("canceled_failure_info") else OutcomeStatus.FAILED
    failure = Failure(message="Activity cancelled" if status is OutcomeStatus.CANCELED else "Activity task failed")
    info = failure.activity_failure_info
    info.identity = identity
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


def canceled_outcome(converter: DataConverter, *, identity: str) -> Outcome:
    """Return the outcome of a job that was removed before it ran.

    Args:
        converter: the client's data converter.
        identity: the process that removed it.
    """
    return failed_outcome(
        canceled(converter),
        job_id="",
        job_type="",
        identity=identity,
        retry_state=RetryState.RETRY_STATE_CANCEL_REQUESTED,
    )
