"""Find the cause of a failure."""

from __future__ import annotations


def describe(error: BaseException) -> str:
    """Return the innermost cause of a failure as one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]
