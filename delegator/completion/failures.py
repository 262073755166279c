"""Failures as Temporal users expect them: an activity failure whose cause is the handler's error."""

from __future__ import annotations

from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, CancelledError

from delegator.wire.outcomes import Outcome, OutcomeStatus

MAX_OUTCOME_BYTES = 2 * 1024 * 1024 - 64 * 1024
"""Temporal's own limit of a payload, less what a signal and a codec add."""

MAX_INPUT_BYTES = 2 * 1024 * 1024
"""Temporal's own limit of a payload: what the arguments of a job may take."""

_KEPT = 8_000


def failure_of(error: BaseException, converter: DataConverter) -> Failure:
    """Return the failure of a handler's error: type, message, details, non-retryable flag and stack trace.

    The failure converter makes it, as it would for an ordinary activity; the codec is applied when it is stored.
    """
    failure = Failure()
    converter.failure_converter.to_failure(error, converter.payload_converter, failure)
    return failure


def within_limit(failure: Failure, limit: int = MAX_OUTCOME_BYTES) -> Failure:
    """Return a failure, without its details and causes if it is too large to travel with them.

    Args:
        failure: a handler's failure.
        limit: in bytes.
    """
    size = failure.ByteSize()
    if size <= limit:
        return failure
    kept = Failure(
        message=f"{failure.message[:_KEPT]} (the failure took {size} bytes, over the limit of {limit}: details cut)",
        source=failure.source,
        stack_trace=failure.stack_trace[:_KEPT],
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


def arguments_too_large(job_type: str, size: int) -> ApplicationError:
    """Return the error of a job whose arguments are over `MAX_INPUT_BYTES`.

    Args:
        job_type: its delegated activity type.
        size: what they take, in bytes.
    """
    return ApplicationError(
        f"the arguments of {job_type} take {size} bytes, over the limit of {MAX_INPUT_BYTES}: "
        "pass a reference to the data instead",
        type="PayloadTooLarge",
        non_retryable=True,
    )


def refused_outcome(
    error: ApplicationError, converter: DataConverter, *, job_id: str, job_type: str, identity: str
) -> Outcome:
    """Return the outcome of a job that is refused before it is enqueued.

    Args:
        error: why.
        converter: the client's data converter.
        job_id: the job.
        job_type: its delegated activity type.
        identity: who refuses it.
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
        identity: who removed it.
    """
    return failed_outcome(
        failure_of(CancelledError("Cancelled"), converter),
        job_id="",
        job_type="",
        identity=identity,
        retry_state=RetryState.RETRY_STATE_CANCEL_REQUESTED,
    )
