"""Shows a workflow the failed attempts of its jobs, for its query and its page."""

from __future__ import annotations

import logging
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

_ALL_UNTIL: Final = 5
"""Every failed attempt up to this one is shown, then every twentieth: a history has room for some thousand signals."""
_log = logging.getLogger(__name__)


class ShownAttempts(Interceptor):
    """Signals a workflow each failed attempt of its jobs that is tried again: its history does not tell it.

    The signal `attempt_failed` has the job's name, the number of the attempt, and the error.
    """

    def __init__(self, workflow_type: str) -> None:
        """Signal workflows of this type."""
        self._workflow_type = workflow_type

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See the base class."""
        return _Shown(next, self._workflow_type)


class _Shown(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, workflow_type: str) -> None:
        super().__init__(next)
        self._workflow_type = workflow_type

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except Exception as error:
            is_final = isinstance(error, ApplicationError) and error.non_retryable
            attempt = activity.info().attempt
            if not is_final and (attempt <= _ALL_UNTIL or attempt % 20 == 0):
                await self._show(error)
            raise

    async def _show(self, error: Exception) -> None:
        info = activity.info()
        if info.workflow_type != self._workflow_type or info.workflow_id is None:
            return
        waiting = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
        try:
            await waiting.signal("attempt_failed", args=[info.activity_type, info.attempt, str(error)])
        except Exception:
            # What can't be shown must not change what the attempt came to.
            _log.warning("attempt_not_shown", exc_info=True)
