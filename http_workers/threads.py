"""Threads of plain functions: an exception thrown into one says that its attempt is over or cancelled."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from delegator.errors import ConfigurationError


class ThreadRaiser:
    """Throws an exception into the thread that runs a handler, at most once and never behind the handler's end.

    The SDK's own class for this is private, and its tests' `ActivityEnvironment` may throw into a thread that already
    runs another function.
    """

    def __init__(self) -> None:
        """Begin without a thread."""
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._pending: type[BaseException] | None = None
        self._shields = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """The handler runs in the calling thread while the context is open."""
        thread_id = threading.get_ident()
        with self._lock:
            self._thread_id = thread_id
            self._throw()
        try:
            yield
        finally:
            with self._lock:
                self._thread_id = None
                # What was thrown and not delivered yet would reach the thread's next function.
                _set_exception(thread_id, None)

    def throw(self, error: type[BaseException]) -> None:
        """Throw an exception into the handler, or as soon as it runs without a shield.

        Args:
            error: its class.
        """
        with self._lock:
            self._pending = error
            self._throw()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Delay the exception until the outermost of these contexts ends."""
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1
                self._throw()

    @property
    def is_shielded(self) -> bool:
        """Whether the handler is within `shielded`."""
        return self._shields > 0

    def _throw(self) -> None:
        if self._thread_id is not None and self._pending is not None and not self._shields:
            _set_exception(self._thread_id, self._pending)
            self._thread_id = None  # a second one could come behind the handler's end


def _set_exception(thread_id: int, error: type[BaseException] | None) -> None:
    """Set or clear the exception that a thread raises before it runs its next line of Python."""
    thrown = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), thrown)


def size_of(executor: Executor, threads: int | None) -> int | None:
    """Return how many plain functions an executor runs at once; None: not known.

    Args:
        executor: the `activity_executor` of a worker.
        threads: the worker's `threads`.

    Raises:
        ConfigurationError: the executor has no threads, or both are given.
    """
    if not isinstance(executor, ThreadPoolExecutor):
        raise ConfigurationError(
            f"activity_executor: a {type(executor).__name__} can't run handlers, only a ThreadPoolExecutor can; for "
            "handlers that compute, run several processes (http-worker --processes)"
        )
    if threads is not None:
        raise ConfigurationError("threads: the activity_executor has its own number of threads; give one of the two")
    size = getattr(executor, "_max_workers", None)
    return size if isinstance(size, int) else None
