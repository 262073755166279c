"""What the SDK's tests did, and what it means."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal

Outcome = Literal["begun", "passed", "failed", "skipped"]

TIMED_OUT: Final = "Failed: Timeout"
"""How pytest-timeout begins its message."""
RUN_AGAIN: Final = 70
"""Exit status of a pytest process that leaves tests to another one."""
DIED: Final = "the process ended within the test"


class Way(StrEnum):
    """How the activities of the tests are delegated."""

    PLAIN = "plain"
    """Not at all."""
    INTERCEPTOR = "interceptor"
    """By the workflow interceptor."""
    ACTIVITY_WORKER = "activity-worker"
    """By the activity worker."""


class Verdict(StrEnum):
    """What the end of a test says about us."""

    PASSES = "pass"
    """It passed, and ran delegated jobs."""
    DIFFERS = "known difference"
    """It failed, and our file says why."""
    FAILS = "fail"
    """It failed where the same test passes undelegated. Or it passed, and our file says that it can't."""
    NO_JOB = "no delegated job"
    """It ended well and delegated nothing."""
    FAILS_UNDELEGATED = "fails undelegated too"
    """It says nothing about us."""


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


@dataclass(frozen=True, slots=True)
class Difference:
    """A known difference: a test that can't pass delegated."""

    test: str
    """Its node id; `*` stands for any characters."""
    ways: tuple[Way, ...]
    """In which ways it can't pass."""
    reason: str
    """Why it can't."""
    docs: str
    """The file, from the repository's root, that tells users."""
    line: str
    """What stands in that file."""

    def covers(self, test: str, way: Way) -> bool:
        """Return whether it is about a test in a way."""
        # A parameter in brackets is no pattern.
        pattern = self.test.replace("[", "[[]")
        return way in self.ways and fnmatchcase(test, pattern)


@dataclass(frozen=True, slots=True)
class Judged:
    """A test with its verdict."""

    seen: Seen
    """What it did."""
    verdict: Verdict
    """What it means."""
    reason: str
    """Why; empty: it is clear."""


def read_report(report: Path) -> list[Seen]:
    """Return what a process has recorded. A test that has begun and not ended has failed."""
    seen: dict[str, Seen] = {}
    for line in report.read_text().splitlines() if report.exists() else ():
        one = Seen.from_line(line)
        seen[one.test] = one
    return [replace(one, outcome="failed", error=DIED) if one.outcome == "begun" else one for one in seen.values()]


def read_differences(file: Path) -> list[Difference]:
    """Return the known differences of our file.

    Args:
        file: TOML, with a table `[[difference]]` for each.
    """
    return [
        Difference(
            test=entry["test"],
            ways=tuple(Way(way) for way in entry["ways"]),
            reason=entry["reason"],
            docs=entry["docs"],
            line=entry["line"],
        )
        for entry in tomllib.loads(file.read_text()).get("difference", [])
    ]


def judge(
    way: Way, seen: Iterable[Seen], differences: Sequence[Difference], undelegated: Mapping[str, Seen]
) -> list[Judged]:
    """Return what tests say about us.

    Args:
        way: how they delegated.
        seen: what they did.
        differences: the known differences.
        undelegated: what the failed ones did undelegated, by node id. One that is missing passes.
    """
    judged = []
    for one in seen:
        known = next((difference for difference in differences if difference.covers(one.test, way)), None)
        plain = undelegated.get(one.test)
        if one.outcome == "failed" and known is not None:
            judged.append(Judged(one, Verdict.DIFFERS, known.reason))
        elif one.outcome == "failed" and plain is not None and plain.outcome == "failed":
            judged.append(Judged(one, Verdict.FAILS_UNDELEGATED, plain.error))
        elif one.outcome == "failed":
            judged.append(Judged(one, Verdict.FAILS, one.error))
        elif not one.jobs:
            judged.append(Judged(one, Verdict.NO_JOB, one.error))
        elif known is not None:
            judged.append(Judged(one, Verdict.FAILS, "it passes: remove it from the known differences"))
        else:
            judged.append(Judged(one, Verdict.PASSES, ""))
    return judged
