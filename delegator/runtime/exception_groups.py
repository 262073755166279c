"""Finds the error that matters in the group that a task group raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from delegator.errors import DelegatorError


def first_error(error: BaseException) -> BaseException:
    """Return the first plain error of a group, at any depth. An error that is no group is returned as it is.

    Args:
        error: the error that was raised.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def expected_error(group: BaseExceptionGroup[BaseException]) -> DelegatorError | None:
    """Return the first error of a group if all of its errors are the engine's own, which say enough in one line.

    Args:
        group: the group that was raised.

    Returns:
        The error; None: one of them is a defect, so its traceback is needed.
    """
    ours, others = group.split(DelegatorError)
    if ours is None or others is not None:
        return None
    error = first_error(ours)
    return error if isinstance(error, DelegatorError) else None


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the first error of a group instead of the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise first_error(group) from None
