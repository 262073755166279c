"""The log line of a failed attempt."""

from __future__ import annotations

import logging

from temporalio.api.enums.v1 import ApplicationErrorCategory
from temporalio.api.failure.v1 import Failure

from delegator.completion.failures import error_type
from delegator.runtime.logs import TRACEBACK
from http_workers.job import Job

_log = logging.getLogger(__name__)


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
    benign = is_expected or category == ApplicationErrorCategory.APPLICATION_ERROR_CATEGORY_BENIGN
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
