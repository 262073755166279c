"""What the SDK's tests did, and what it means."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

TIMED_OUT: Final = "Failed: Timeout"
"""How pytest-timeout begins its message."""
DIED: Final = "the process ended within the test"


Outcome = Literal["begun", "passed", "failed", "skipped"]


class Way(StrEnum):
    """How the activities of the tests are delegated."""

    PLAIN = "plain"
    """Not at all."""
    INTERCEPTOR = "interceptor"
    """By the workflow interceptor."""
    ACTIVITY_WORKER = "activity-worker"
    """By the activity worker."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The end of one test."""

    test: str
    """Its node id."""
    outcome: Outcome
    """`begun`: the process died, or the test still runs."""
    jobs: int
    """Jobs that it enqueued."""
    error: str
    """Why it failed or was skipped, in one line."""

    def as_line(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Seen:
        """Read what `as_line` returned."""
        return cls(**json.loads(line))


def read_report(report: Path) -> list[Seen]:
    """Return what a process has recorded. A test that has begun and not ended has failed."""
    seen: dict[str, Seen] = {}
    for line in report.read_text().splitlines() if report.exists() else ():
        one = Seen.from_line(line)
        seen[one.test] = one
    return [
        replace(one, outcome="failed", error=DIED) if one.outcome == "begun" else one for one in seen.values()
    ]
