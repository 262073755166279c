"""Bounds what an error may bring along: the number of its causes, and the length of their tracebacks.

Every process that reads a failure parses a message within a message for each cause. Parsers of protobuf stop at a
depth of 100, so nobody could read a longer chain, and its workflow would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Final

from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

MOST_CAUSES: Final = 30
"""Longest chain of causes. Each workflow that passes a failure on, a child to its parent, makes it longer."""
LEFT_OUT: Final = "CausesLeftOut"
"""The type of the failure that stands for the causes that were left out."""

_KEPT: Final = MOST_CAUSES - 3
_MOST_LOOKED_AT: Final = 100_000
_MOST_FRAMES: Final = 200


@contextmanager
def cut_short(error: BaseException) -> Iterator[None]:
    """Let an error have few causes and short tracebacks while the context is open.

    Args:
        error: as a handler raised it. It has all of its causes again when the context ends.
    """
    links, note = _links(error)
    with ExitStack() as stack:
        for link in links:
            if (trace := _shortened(link.__traceback__)) is not link.__traceback__:
                stack.callback(link.with_traceback, link.__traceback__)
                link.__traceback__ = trace
        if note is not None:
            last = links[-1]
            stack.callback(_restorer(last))
            last.__cause__ = note
        yield


def cut_failure(failure: Failure) -> Failure:
    """Leave causes out of a failure that has too many, and return it.

    A failure that a handler got from elsewhere brings its causes along as a message, not as exceptions.

    Args:
        failure: it is changed.
    """
    last, depth = failure, 1
    while depth < MOST_CAUSES and last.HasField("cause"):
        last, depth = last.cause, depth + 1
    if not last.HasField("cause"):
        return failure
    last = failure
    for _ in range(_KEPT - 1):
        last = last.cause
    root, left_out = last.cause, 0
    while root.HasField("cause"):
        root, left_out = root.cause, left_out + 1
    kept = Failure()
    kept.CopyFrom(root)
    last.ClearField("cause")
    last.cause.message = _note(left_out)
    last.cause.application_failure_info.type = LEFT_OUT
    last.cause.cause.CopyFrom(kept)
    return failure


def _links(error: BaseException) -> tuple[list[BaseException], ApplicationError | None]:
    """Return the links of a chain that are kept, and what is to follow them; None: they are the whole chain."""
    links: list[BaseException] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen and len(links) < _MOST_LOOKED_AT:
        links.append(following)
        seen.add(id(following))
        following = _next(following)
    if following is None:
        if len(links) <= MOST_CAUSES:
            return links, None
        note = ApplicationError(_note(len(links) - _KEPT - 1), type=LEFT_OUT)
        note.__cause__ = links[-1]
    elif id(following) in seen:
        note = ApplicationError("the chain of causes repeats itself from here on", type=LEFT_OUT)
    else:
        note = ApplicationError(f"more than {_MOST_LOOKED_AT} causes were left out here", type=LEFT_OUT)
    return links[:_KEPT], note


def _next(error: BaseException) -> BaseException | None:
    """Return what Python prints as an error's cause."""
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _restorer(error: BaseException) -> Callable[[], None]:
    cause, suppresses = error.__cause__, error.__suppress_context__

    def restore() -> None:
        error.__cause__ = cause
        error.__suppress_context__ = suppresses

    return restore


def _note(left_out: int) -> str:
    return f"{left_out} causes were left out here: a failure has at most {MOST_CAUSES}"


def _shortened(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames in its middle, or itself if it is short."""
    frames: list[TracebackType] = []
    following = trace
    while following is not None:
        frames.append(following)
        following = following.tb_next
    if len(frames) <= _MOST_FRAMES:
        return trace
    half = _MOST_FRAMES // 2
    short: TracebackType | None = None
    for frame in reversed([*frames[:half], *frames[-half:]]):
        short = TracebackType(short, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return short
