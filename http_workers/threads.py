"""Threads of plain functions: an exception thrown into one says that its attempt is over or cancelled."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeAlias, TypeVar

from delegator.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")
_Call: TypeAlias = tuple[Future[Any], Callable[[], Any]]


class HandlerThreads(Executor):
    """A worker's own threads. They are daemons: a handler that never ends does not keep the process from ending.

    The interpreter joins the threads of a `ThreadPoolExecutor` when it ends, however long that takes.
    """

    def __init__(self, most: int) -> None:
        """Begin without threads. Each begins when there is a call for it.

        Args:
            most: largest number of threads.
        """
        self._most = most
        self._calls: deque[_Call] = deque()
        self._arrived = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._free = 0
        self._is_shut = False

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a thread.

        Raises:
            RuntimeError: `shutdown` was called.
        """
        future: Future[T] = Future()
        with self._arrived:
            if self._is_shut:
                raise RuntimeError("the worker has stopped, and its threads with it")
            self._calls.append((future, lambda: function(*args, **kwargs)))
            self._arrived.notify()
            if self._free < len(self._calls) and len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=f"handler_{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor`."""
        with self._arrived:
            self._is_shut = True
            if cancel_futures:
                for future, _ in self._calls:
                    future.cancel()
                self._calls.clear()
            self._arrived.notify_all()
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            _run(*call)
            del call

    def _next(self) -> _Call | None:
        with self._arrived:
            while not self._calls:
                if self._is_shut:
                    return None
                self._free += 1
                self._arrived.wait()
                self._free -= 1
            return self._calls.popleft()


@contextmanager
def handler_threads(most: int) -> Iterator[HandlerThreads]:
    """Give a worker threads of its own. It does not wait for handlers that still run at its end.

    Args:
        most: largest number of threads.
    """
    threads = HandlerThreads(most)
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # SystemExit too: the thread goes on with other jobs
        future.set_exception(error)
    else:
        future.set_result(result)


def with_storable_error(function: Callable[[], T]) -> T:
    """Call a function. Replace an error that can't pass through a future, as Python replaces it in an async function.

    asyncio refuses to store StopIteration: whoever awaited the future would wait for ever. GeneratorExit closes every
    coroutine that awaits the future.

    Raises:
        RuntimeError: in place of StopIteration or GeneratorExit, which is its cause.
    """
    try:
        return function()
    except (StopIteration, GeneratorExit) as error:
        raise RuntimeError(f"the function raised {type(error).__name__}") from error


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
