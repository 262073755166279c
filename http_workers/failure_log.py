"""The log lines of failed attempts."""

from __future__ import annotations

import logging

from temporalio.api.enums.v1 import ApplicationErrorCategory
from temporalio.api.failure.v1 import Failure

from delegator.completion.failures import error_type
from delegator.runtime.logs import TRACEBACK
from http_workers.attempt import Ended

_log = logging.getLogger(__name__)


class FailureLog:
    """Logs what failed and where."""

    def __init__(self, *, with_messages: bool) -> None:
        """Prepare.

        Args:
            with_messages: also log messages and tracebacks. They may hold what a codec hides.
        """
        self._with_messages = with_messages

    def log(self, ended: Ended, failure: Failure) -> None:
        """Log a failed attempt. A benign failure and a cancellation are expected, and refusals have their own line.

        Args:
            ended: the attempt.
            failure: what went wrong.
        """
        category = failure.application_failure_info.category
        benign = category == ApplicationErrorCategory.APPLICATION_ERROR_CATEGORY_BENIGN
        is_expected = benign or failure.HasField("canceled_failure_info") or ended.refusal is not None
        extra: dict[str, object] = {
            "job_id": ended.job.job_id,
            "job_type": ended.job.job_type,
            "attempt": ended.job.attempt,
            "error": error_type(failure),
        }
        if ended.at:
            extra["at"] = ended.at
        if self._with_messages:
            extra |= {"reason": failure.message, TRACEBACK: failure.stack_trace.rstrip()}
        _log.log(logging.DEBUG if is_expected else logging.WARNING, "attempt_failed", extra=extra)
