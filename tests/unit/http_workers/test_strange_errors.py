"""Handlers end in every way that Python allows. Each attempt ends as a failure that every process can read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelled
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio import activity
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ActivityError, ApplicationError

from delegator import delegated
from delegator.completion.causes import LEFT_OUT, MOST_CAUSES
from delegator.completion.failures import failure_of
from delegator.contracts import collect_handlers
from http_workers.attempt import AttemptRunner
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics
from http_workers.threads import HandlerThreads
from tests.support.claims import claimed

_CONVERTER = DataConverter.default


class _NoTextError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class _BadlyNamedError(Exception):
    def __str__(self) -> str:
        return "\ud800"


class _FalseError(Exception):
    def __bool__(self) -> bool:
        return False


def _chained(length: int, *, by_context: bool = False) -> BaseException:
    error: BaseException = ValueError("root")
    for number in range(length - 1):
        following = ApplicationError(f"link {number}")
        if by_context:
            following.__context__ = error
        else:
            following.__cause__ = error
        error = following
    return error


def _cycle(length: int) -> BaseException:
    links = [RuntimeError(str(number)) for number in range(length)]
    for link, following in zip(links, [*links[1:], links[0]], strict=True):
        link.__cause__ = following
    return links[0]


def _deep() -> BaseException:
    def left(depth: int) -> None:
        right(depth - 1)

    def right(depth: int) -> None:
        if depth <= 0:
            raise ValueError("deep")
        left(depth - 1)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        left(5_000)
    except ValueError as error:
        return error
    finally:
        sys.setrecursionlimit(limit)
    raise AssertionError


def _from_elsewhere() -> BaseException:
    """An error that a handler got from another workflow: its causes are in a message."""
    failure = Failure(message="top")
    last = failure
    for number in range(90):
        last = last.cause
        last.message = str(number)
    error = ApplicationError("from elsewhere")
    error._failure = failure
    return error


STRANGE: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(3),
    "exit with an object": lambda: SystemExit(object()),
    "interrupt": KeyboardInterrupt,
    "generator exit": lambda: GeneratorExit("why"),
    "stop iteration": lambda: StopIteration(7),
    "stop async iteration": StopAsyncIteration,
    "cancelled": asyncio.CancelledError,
    "cancelled future": FutureCancelled,
    "base exception": lambda: BaseException("bare"),
    "group": lambda: BaseExceptionGroup("several", [SystemExit(1), ValueError("x")]),
    "recursion": RecursionError,
    "memory": MemoryError,
    "no text": _NoTextError,
    "no Unicode": _BadlyNamedError,
    "false": _FalseError,
    "megabytes": lambda: ValueError("x" * 5_000_000),
    "details": lambda: ApplicationError("x", object(), type="T" * 3_000_000),
    "96 causes": lambda: _chained(96),
    "10,000 causes": lambda: _chained(10_000),
    "contexts": lambda: _chained(2_000, by_context=True),
    "itself": lambda: _cycle(1),
    "cycle": lambda: _cycle(3),
    "long cycle": lambda: _cycle(500),
    "deep traceback": _deep,
    "from elsewhere": _from_elsewhere,
}


@delegated
async def asynchronous(error: str) -> None:
    raise STRANGE[error]()


@delegated
def in_a_thread(error: str) -> None:
    raise STRANGE[error]()


@delegated
@activity.defn
async def as_activity(error: str) -> None:
    raise STRANGE[error]()


@delegated
@activity.defn
def as_activity_in_a_thread(error: str) -> None:
    raise STRANGE[error]()


def depth(failure: Failure) -> int:
    links = 1
    while failure.HasField("cause"):
        failure, links = failure.cause, links + 1
    return links


@pytest.mark.parametrize("error", STRANGE)
async def test_every_error_is_a_failure(error: str) -> None:
    """Whatever a handler raises, in the event loop or in a thread, the attempt ends with a failure that can be read."""
    handlers = collect_handlers([asynchronous, in_a_thread, as_activity, as_activity_in_a_thread])
    threads = HandlerThreads(2)
    runner = AttemptRunner(handlers, _CONVERTER, "default", WorkerMetrics(CollectorRegistry()), threads)
    try:
        for name in handlers:
            job = Job(claimed(job_type=name, input=_input(error)))
            async with asyncio.timeout(30):
                ended = await runner.run(job)
            assert ended.failure is not None
            read = Failure.FromString(ended.failure.SerializeToString())
            assert depth(read) <= MOST_CAUSES
            _CONVERTER.failure_converter.from_failure(read, _CONVERTER.payload_converter)
    finally:
        threads.shutdown()


def test_cut_keeps_both_ends() -> None:
    """Of a long chain the first causes and the root are kept. A note between them says how many were left out."""
    for made in (_chained(200), _chained(200, by_context=True)):
        failure = failure_of(made, _CONVERTER)
        links = [failure]
        while links[-1].HasField("cause"):
            links.append(links[-1].cause)
        assert (links[0].message, links[-1].message) == ("link 198", "root")
        assert links[-2].application_failure_info.type == LEFT_OUT and "172 causes" in links[-2].message


def test_error_is_left_as_it_was() -> None:
    """The error itself has all of its causes again, whatever it was: it may be logged, or raised again."""
    error, whole = _chained(500), _chained(500, by_context=True)
    for made in (error, whole):
        failure_of(made, _CONVERTER)
        following: BaseException | None = made
        count = 0
        while following is not None:
            count += 1
            following = following.__cause__ or following.__context__
        assert count == 500


def test_short_chain_is_whole() -> None:
    """A chain of as many causes as are allowed is not cut."""
    failure = failure_of(_chained(MOST_CAUSES), _CONVERTER)
    assert depth(failure) == MOST_CAUSES and LEFT_OUT not in str(failure)


def test_activity_error_passes() -> None:
    """An activity's failure that a handler passes on is whole."""
    error = ActivityError(
        "failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="t",
        activity_id="1",
        retry_state=None,
    )
    error.__cause__ = ValueError("cause")
    assert depth(failure_of(error, _CONVERTER)) == 2


def _input(value: Any) -> bytes:
    return Payloads(payloads=_CONVERTER.payload_converter.to_payloads([value])).SerializeToString()
