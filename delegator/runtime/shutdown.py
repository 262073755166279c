"""Stops a process on signals. The first signal asks for a graceful stop. The second one ends the process at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Each asks for a stop. SIGHUP comes when a terminal closes. A process under `nohup` ignores it."""

_log = logging.getLogger(__name__)


class Shutdown:
    """A request to stop."""

    def __init__(self) -> None:
        """Begin without a request."""
        self.requested = asyncio.Event()
        """Set once the process should stop gracefully."""
        self.insisted = asyncio.Event()
        """Set once the process should stop at once. Not used if a second signal ends the process."""

    def request(self) -> None:
        """Ask for a graceful stop; call it from the event loop."""
        self.requested.set()


@asynccontextmanager
async def shutdown_signals(
    *, exit_on_second: bool = True, at_the_latest: timedelta | None = None
) -> AsyncIterator[Shutdown]:
    """Turn SIGTERM, SIGINT and SIGHUP into a `Shutdown` while the context is open; main thread only.

    Args:
        at_the_latest: how long after the first signal the process ends, even if a handler blocks the event loop; None:
            it takes as long as it takes.
        exit_on_second: a second signal ends the process at once, with status 128 plus its number, even if a handler
            blocks the event loop. False: it sets `insisted`.
    """
    loop = asyncio.get_running_loop()
    shutdown = Shutdown()
    received = 0

    # signal.signal and not loop.add_signal_handler: this also runs while the event loop is blocked.
    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            if at_the_latest is not None:
                end_process_within(at_the_latest, 1)
            loop.call_soon_threadsafe(shutdown.request)
        elif exit_on_second:
            os.write(2, b"stopped at once\n")
            os._exit(128 + number)
        else:
            loop.call_soon_threadsafe(shutdown.insisted.set)

    numbers = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    with _woken_by_signals(loop):
        previous = {number: signal.signal(number, on_signal) for number in numbers}
        try:
            yield shutdown
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake the event loop at each signal, so that Python's handler runs then.

    Else a signal that comes just before the loop begins to wait, or in another thread, is handled when something else
    wakes the loop. See `signal.set_wakeup_fd`. uvloop, and asyncio's loop with handlers of its own, do this already.
    """
    reading, writing = socket.socketpair()
    with reading, writing:
        for end in (reading, writing):
            end.setblocking(False)
        others = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        if others != -1:
            signal.set_wakeup_fd(others, warn_on_full_buffer=False)
            yield
            return
        loop.add_reader(reading, reading.recv, 4096)
        try:
            yield
        finally:
            loop.remove_reader(reading)
            last = signal.set_wakeup_fd(-1)
            if last != writing.fileno():  # somebody has set another one meanwhile
                signal.set_wakeup_fd(last, warn_on_full_buffer=False)


@asynccontextmanager
async def cancelled_by_signals(*, again: bool) -> AsyncIterator[None]:
    """Cancel the task that runs the block when the first signal comes; main thread only.

    Args:
        again: a second signal cancels it again, which may interrupt its cleanup. False: more signals do nothing.
    """
    task = asyncio.current_task()
    assert task is not None
    async with shutdown_signals(exit_on_second=False) as shutdown:
        watcher = asyncio.create_task(_cancel(task, shutdown, again=again), name="signals")
        try:
            yield
        finally:
            watcher.cancel()


async def _cancel(task: asyncio.Task[object], shutdown: Shutdown, *, again: bool) -> None:
    await shutdown.requested.wait()
    task.cancel()
    if again:
        await shutdown.insisted.wait()
        task.cancel()


def end_process_within(limit: timedelta, status: int) -> None:
    """End the process after a time, unless it has ended by then. A thread that never ends does not keep it.

    The interpreter waits for all threads that are no daemons, and for as long as they take.

    Args:
        limit: from now on.
        status: the exit status of a process that is ended so.
    """
    threading.Thread(target=_end_process, args=(limit, status), name="end-process", daemon=True).start()


def _end_process(limit: timedelta, status: int) -> None:
    time.sleep(limit.total_seconds())
    left = [thread.name for thread in threading.enumerate() if not thread.daemon]
    _log.error("process_ended_by_force", extra={"status": status, "threads": ",".join(left)})
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)
