"""Makes failed attempts visible: neither Temporal's history nor the queue tells a workflow of them."""

from __future__ import annotations

import logging
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

_log = logging.getLogger(__name__)
_ALL_UNTIL: Final = 5
"""Every failed attempt up to this one is shown, then every twentieth: a history has room for some thousand signals."""


class ShownAttempts(Interceptor):
    """Signals a payment each failed attempt that is tried again, so that its page can show it."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See the base class."""
        return _Shown(next)


class _Shown(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except Exception as error:
            is_final = isinstance(error, ApplicationError) and error.non_retryable
            attempt = activity.info().attempt
            if not is_final and (attempt <= _ALL_UNTIL or attempt % 20 == 0):
                await _show(error)
            raise


async def _show(error: Exception) -> None:
    info = activity.info()
    if info.workflow_type != "Payment" or info.workflow_id is None:
        return
    payment = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
    try:
        await payment.signal("attempt_failed", args=[info.activity_type, info.attempt, str(error)])
    except Exception:
        # What can't be shown must not change what the attempt came to.
        _log.warning("attempt_not_shown", exc_info=True)
