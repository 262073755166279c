"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    """Works, and an operator should know of it."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not tried: something that it needs has failed, or the role may not."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check."""

    link: str
    """What was checked: `postgresql`, `schema`, `slot default`, ..."""
    status: Status
    text: str
    """What was found, on one line, without a secret."""
    fix: str | None = None
    """What to do, for a failure or a note."""


def ok(link: str, text: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(link, Status.OK, text)


def note(link: str, text: str, fix: str) -> Check:
    """Return a check that found something worth knowing."""
    return Check(link, Status.NOTE, text, fix)


def failed(link: str, text: str, fix: str) -> Check:
    """Return a check that failed."""
    return Check(link, Status.FAILED, text, fix)


def skipped(link: str, needs: str) -> Check:
    """Return a check that was not tried."""
    return Check(link, Status.SKIPPED, f"not tried, because {needs} failed")


def withheld(link: str, who: str) -> Check:
    """Return a check that was not tried, because the role of the settings may not do it.

    Args:
        link: what was not checked.
        who: the role that may, such as `a member of delegator_enqueuer`.
    """
    return Check(link, Status.SKIPPED, f"not tried, because this role may not; for this check run it as {who}")


def split(message: str, otherwise: str) -> tuple[str, str]:
    """Return the problem and the fix of an error's message, which names its fix behind the last colon and a space.

    Args:
        message: the error's message.
        otherwise: the fix, if the message names none.
    """
    problem, separator, fix = message.rpartition(": ")
    return (problem, fix) if separator and " " in fix else (message, otherwise)
