"""What workflows, jobs and the service say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

Verdict = Literal["approved", "rejected"]
ENDS: Final = ("done", "discarded", "refused")
"""The states in which an import ends."""
SLICE: Final = 1_000
"""Rows that a job takes at once."""
FOLDER: Final = "ONBOARDING_FOLDER"
"""The environment variable that names the folder of the files, which the service and the pools share.

A file never travels through Temporal, whose limit is 2 MB: only the id of its import does.
"""


@dataclass(frozen=True)
class Report:
    """What an import has found so far."""

    rows: int = 0
    bad: int = 0
    last_line: int = 0
    """Where the last row begins."""
    duplicates: int = 0
    state: str = "checking"
    reason: str | None = None
    """Why the file can't be read."""


@dataclass(frozen=True)
class Decision:
    """A checker's decision about users of one import."""

    id: str
    """Made when the page is shown, so that a second click is the same decision."""
    import_id: str
    who: str
    verdict: Verdict
    ids: list[int] = field(default_factory=list)
    everyone: bool = False
    """All users of the import that nobody has decided about."""
    reason: str = ""


@dataclass(frozen=True)
class Terms:
    """How long an approval may take."""

    reminder_seconds: int = 86_400
    expires_seconds: int = 30 * 86_400
    max_bad_percent: int = 10
    """An import with more bad rows waits for its maker."""
    most_decisions: int = 500
    """Decisions that a run takes before it continues as new."""


@dataclass(frozen=True)
class Carried:
    """What one run of an approval hands to the next.

    It is here, and not beside the workflow: within the workflow sandbox a dataclass gets the sandbox's own `datetime`,
    which the data converter does not know.
    """

    decisions: list[Decision]
    expires_at: datetime
    remind_at: datetime
    reminders: int = 0
