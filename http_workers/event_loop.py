"""Runs a worker in an event loop that its handlers can't end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any, Final

import uvloop

_CLOSE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


def run_guarded(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, whatever the tasks and callbacks of others raise meanwhile.

    asyncio ends the event loop when a task raises SystemExit or KeyboardInterrupt. A handler may start such a task:
    a library that calls `sys.exit()` within a `gather` would end the worker with all jobs in it. The task has its
    exception, and whoever awaits it gets the exception there.

    Raises:
        KeyboardInterrupt: Ctrl-C, while nothing else handles it.
    """
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        task = loop.create_task(main, name="main")
        while True:
            try:
                loop.run_until_complete(task)
                return
            except BaseException as error:
                if task.done() or _is_ctrl_c(error):
                    raise
                _log.error("event_loop_ended", extra={"error": type(error).__name__, "then": "go on"})
    finally:
        _close(loop)
        asyncio.set_event_loop(None)


def _is_ctrl_c(error: BaseException) -> bool:
    """Return whether an exception is Python's own answer to Ctrl-C: no handler of ours is in its place."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop. Tasks and threads that do not end are left, unlike in `asyncio.run`, which waits for them."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    try:
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_CLOSE_SECONDS))
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), _CLOSE_SECONDS))
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        _log.error("event_loop_ended", extra={"error": type(error).__name__, "then": "close it"})
    finally:
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
