"""What the four services have in common: how they take their jobs, and how a payment learns of failed attempts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

from aiohttp import web
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from delegator import connect
from examples.classic import temporal_worker
from examples.database import create_tables
from examples.service import http_server, run_service, setting
from http_workers import HttpWorker

_CONCURRENCY: Final = 50
_ALL_UNTIL: Final = 5
"""Every failed attempt up to this one is shown, then every twentieth: a history has room for some thousand signals."""
_log = logging.getLogger(__name__)


def is_delegated() -> bool:
    """Return whether jobs go through PostgreSQL, or through Temporal (`classic`)."""
    return setting("PAYMENTS_DISPATCH", "delegated") == "delegated"


def run_jobs(queue: str, module: ModuleType, schema: Path | None = None) -> NoReturn:
    """Run the jobs of a queue until SIGTERM or Ctrl-C.

    The service is an HTTP worker. With classic dispatch it is a Temporal worker of the task queue of that name, which
    runs the same functions as ordinary activities.

    Args:
        queue: the queue.
        module: has the handlers and their resources.
        schema: creates the service's tables.
    """

    @asynccontextmanager
    async def service(port: int) -> AsyncIterator[None]:
        if schema is not None:
            await create_tables(schema)
        worker: AbstractAsyncContextManager[object]
        if is_delegated():
            grace = timedelta(seconds=1)
            worker = HttpWorker(
                [module], queue=queue, concurrency=_CONCURRENCY, interceptors=[ShownAttempts()], grace=grace
            )
        else:
            worker = temporal_worker(await connect(), [module], queue, _CONCURRENCY, [ShownAttempts()])
        async with worker, http_server(web.Application(), port):
            yield

    run_service(service)


class ShownAttempts(Interceptor):
    """Signals a payment each failed attempt that is tried again: neither Temporal's history nor the queue tells it."""

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
