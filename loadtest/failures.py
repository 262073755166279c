"""Find the cause of a failure."""

from __future__ import annotations


def describe(error: BaseException) -> str:
    """Return the innermost cause of a failure as one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


def first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception of a group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
