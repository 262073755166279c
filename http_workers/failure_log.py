"""The log line of a failed attempt."""

from __future__ import annotations

import logging
from typing import Final

from temporalio import activity
from temporalio.api.enums.v1 import ApplicationErrorCategory as Category
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from delegator.completion.failures import error_type
from delegator.runtime.logs import TEMPORAL_FAILURE, TRACEBACK
from http_workers.job import Job

_log = logging.getLogger(__name__)
_TEMPORALS_WORDS: Final = "Completing activity as failed"


def log_as_temporal(error: BaseException) -> None:
    """Log a failed activity as Temporal's worker does, for handlers of the user that look for these records.

    The engine's own handler leaves the record out, because `attempt_failed` says it.

    Args:
        error: what the activity raised; its context is the current one.
    """
    benign = isinstance(error, ApplicationError) and error.category is ApplicationErrorCategory.BENIGN
    activity.logger.log(
        logging.DEBUG if benign else logging.WARNING,
        _TEMPORALS_WORDS,
        exc_info=(type(error), error, error.__traceback__),  # an exception itself may be false, or refuse to say
        extra={TEMPORAL_FAILURE: "ActivityFailure"},
    )


def log_failure(job: Job, failure: Failure, at: str, *, log_messages: bool, is_expected: bool = False) -> None:
    """Log what failed and where. Benign and expected failures are logged for debugging only.

    Args:
        job: the job.
        failure: what went wrong.
        at: where the handler raised its error; empty: it raised none.
        log_messages: also log the message and the traceback, which may hold what a codec hides.
        is_expected: another log line says enough of it.
    """
    category = failure.application_failure_info.category
    benign = is_expected or category == Category.APPLICATION_ERROR_CATEGORY_BENIGN
    extra: dict[str, object] = {
        "job_id": job.job_id,
        "job_type": job.job_type,
        "attempt": job.attempt,
        "error": error_type(failure),
    }
    if at:
        extra["at"] = at
    if log_messages:
        extra |= {"reason": failure.message, TRACEBACK: failure.stack_trace.rstrip()}
    _log.log(
        logging.DEBUG if benign or failure.HasField("canceled_failure_info") else logging.WARNING,
        "attempt_failed",
        extra=extra,
    )
