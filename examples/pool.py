"""A pool as a program of its own, for examples whose services run alone, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Final, NoReturn

from aiohttp import web
from temporalio.worker import Interceptor

from delegator import connect
from examples.classic import temporal_worker
from examples.database import create_tables
from examples.service import http_server, run_service, setting
from http_workers import HttpWorker

DISPATCH: Final = "EXAMPLES_DISPATCH"
"""The environment variable that says how jobs reach the pool."""
_CONCURRENCY: Final = 50
_GRACE: Final = timedelta(seconds=1)


def is_delegated() -> bool:
    """Return whether jobs go through PostgreSQL, or through Temporal (`classic`)."""
    return setting(DISPATCH, "delegated") == "delegated"


def run_pool(
    queue: str, module: ModuleType, interceptors: Sequence[Interceptor] = (), schema: Path | None = None
) -> NoReturn:
    """Run the jobs of a queue until SIGTERM or Ctrl-C.

    The program is an HTTP worker. With classic dispatch it is a Temporal worker of the task queue of that name, which
    runs the same functions as ordinary activities.

    Args:
        queue: the queue.
        module: has the handlers and their resources.
        interceptors: see each job before its handler does, with both dispatches.
        schema: creates the tables of the handlers.
    """

    @asynccontextmanager
    async def service(port: int) -> AsyncIterator[None]:
        if schema is not None:
            await create_tables(schema)
        worker: AbstractAsyncContextManager[object]
        if is_delegated():
            worker = HttpWorker(
                [module], queue=queue, concurrency=_CONCURRENCY, interceptors=interceptors, grace=_GRACE
            )
        else:
            worker = temporal_worker(await connect(), [module], queue, _CONCURRENCY, interceptors)
        async with worker, http_server(web.Application(), port):
            yield

    run_service(service)
