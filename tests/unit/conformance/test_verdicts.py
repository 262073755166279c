"""What the outcome of an SDK's test says about us."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.__main__ import DIFFERENCES, table
from tests.conformance.results import (
    DIED,
    Difference,
    Outcome,
    Seen,
    Verdict,
    Way,
    judge,
    read_differences,
    read_report,
)
from tests.conformance.sdk import ROOT

TEST = "tests/worker/test_workflow.py::test_pause[True]"
KNOWN = Difference("tests/worker/test_workflow.py::test_pause*", (Way.INTERCEPTOR,), "the server", "docs/x.md", "x")


def seen(outcome: Outcome, jobs: int = 1) -> Seen:
    return Seen(TEST, outcome, jobs, "an error" if outcome == "failed" else "")


@pytest.mark.parametrize(
    ("delegated", "differences", "plain", "verdict"),
    [
        (seen("passed"), (), None, Verdict.PASSES),
        (seen("passed", 0), (), None, Verdict.NO_JOB),
        (seen("skipped", 0), (), None, Verdict.NO_JOB),
        (seen("passed", 0), (KNOWN,), None, Verdict.NO_JOB),
        (seen("failed"), (), None, Verdict.FAILS),
        (seen("failed"), (), seen("passed", 0), Verdict.FAILS),
        # A delegated call that is refused enqueues nothing, and is lost all the same.
        (seen("failed", 0), (), seen("passed", 0), Verdict.FAILS),
        (seen("failed"), (), seen("failed", 0), Verdict.FAILS_UNDELEGATED),
        (seen("failed"), (KNOWN,), seen("passed", 0), Verdict.DIFFERS),
        (seen("passed"), (KNOWN,), None, Verdict.FAILS),
    ],
)
def test_verdict(delegated: Seen, differences: tuple[Difference, ...], plain: Seen | None, verdict: Verdict) -> None:
    """A failure is ours unless our file names it or the test fails undelegated. A known difference must fail."""
    (judged,) = judge(Way.INTERCEPTOR, [delegated], differences, {TEST: plain} if plain else {})
    assert judged.verdict is verdict


def test_difference_of_one_way() -> None:
    """A known difference of one way is none of the other way."""
    (judged,) = judge(Way.ACTIVITY_WORKER, [seen("failed")], [KNOWN], {})
    assert judged.verdict is Verdict.FAILS


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        (TEST, True),
        ("tests/worker/test_workflow.py::test_pause[False]", False),
        ("tests/worker/test_workflow.py::test_pause", False),
        ("tests/worker/test_workflow.py::*", True),
    ],
)
def test_pattern_of_difference(pattern: str, covered: bool) -> None:
    """The test of a known difference is a node id, in which only the star is special."""
    assert Difference(pattern, (Way.INTERCEPTOR,), "", "", "").covers(TEST, Way.INTERCEPTOR) is covered


def test_report_of_a_dead_process(tmp_path: Path) -> None:
    """A test that has begun and not ended has failed, and the last line of a test counts."""
    report = tmp_path / "report.jsonl"
    lines = [seen("begun", 0), seen("passed"), Seen("other", "begun", 2, "")]
    report.write_text("".join(one.as_line() + "\n" for one in lines))
    assert read_report(report) == [seen("passed"), Seen("other", "failed", 2, DIED)]
    assert read_report(tmp_path / "none") == []


def test_table() -> None:
    """The table names what fails and counts everything."""
    judged = judge(Way.INTERCEPTOR, [seen("failed"), Seen("fine", "passed", 3, "")], (), {})
    text = table({Way.INTERCEPTOR: judged})
    assert f"interceptor: fail: {TEST}" in text
    assert "an error" in text
    assert "fine" not in text
    assert text.splitlines()[-1].split() == ["interceptor", "1", "0", "1", "0", "0"]


def test_differences_are_documented() -> None:
    """Each known difference has a reason, and stands in a page of the documentation."""
    for difference in read_differences(DIFFERENCES):
        page = ROOT / difference.docs
        assert page.is_relative_to(ROOT / "docs"), difference
        text = " ".join(page.read_text().split())
        assert difference.line in text, f"{difference.docs} does not say: {difference.line}"
        assert difference.reason, difference
        assert difference.ways, difference
