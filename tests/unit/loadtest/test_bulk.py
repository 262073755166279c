from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.errors import ConfigurationError
from loadtest.queues.executions import DIRECTORY_VARIABLE, Executions, count, process_writer, record
from loadtest.queues.load import BulkLoad, Mode, number_of
from loadtest.queues.queue_run import Window, judge
from loadtest.results.costs import Costs
from loadtest.results.queue_result import BulkComparison, BulkResult, median_result
from loadtest.terminal.queue_tables import bulk_table

COSTS = Costs(None, {}, None, None, None, {})
GIVEN: dict[str, Any] = {"jobs": None, "payload_bytes": 100, "backlog": False, "rate": None}


@pytest.fixture(autouse=True)
def own_file() -> Iterator[None]:
    process_writer.cache_clear()
    yield
    process_writer.cache_clear()


@given(begin=st.integers(0, 2**31), more=st.integers(0, 20), size=st.integers(8, 2_000))
def test_payloads(begin: int, more: int, size: int) -> None:
    """A payload begins with the number of its job and has the requested size."""
    payloads = BulkLoad(mode=Mode.BULK, jobs=1, payload_bytes=size).payloads(begin, begin + more)
    assert [number_of(payload) for payload in payloads] == list(range(begin, begin + more))
    assert {len(payload) for payload in payloads} <= {size}
    assert all(payload.isascii() for payload in payloads)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"payload_bytes": 7}, "--payload-bytes 7"),
        ({"jobs": 0}, "--jobs 0"),
        ({"rate": 10.0, "jobs": 5}, "--jobs and --rate"),
        ({"rate": 10.0, "backlog": True}, "--backlog and --rate"),
        ({"rate": -1.0}, "--rate -1"),
        ({"rate": 0.01, "duration": 10.0}, "make at least one job"),
        ({"duration": 10.0}, "--duration is the time of --rate"),
    ],
)
def test_options_that_do_not_fit_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        BulkLoad.of(**GIVEN | changed)


def test_a_rate_decides_how_many_jobs() -> None:
    load = BulkLoad.of(**GIVEN | {"rate": 2.5, "duration": 10.0})
    assert (load.mode, load.jobs) == (Mode.STEADY, 25)
    assert BulkLoad.of(**GIVEN | {"rate": 2.5}).jobs == 75


def test_fork(tmp_path: Path) -> None:
    """A forked process writes to a file of its own."""
    program = (
        "import os; from loadtest.queues.executions import record\n"
        "record(b'00000001')\n"
        "child = not os.fork() or os.wait() and 0\n"
        "record(b'00000003' if child else b'00000002')"
    )
    environment = os.environ | {DIRECTORY_VARIABLE: str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    executions = Executions(tmp_path)
    assert [executions.times(number) for number in (1, 2, 3)] == [1, 1, 1]
    assert len(list(tmp_path.iterdir())) == 2


def test_no_load_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that the load test did not start writes nothing."""
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    record(b"00000001")
    assert not list(tmp_path.iterdir())


def _judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[int], *, left: int = 0) -> BulkResult:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    load = BulkLoad(mode=Mode.STEADY, jobs=4, rate=2.0)
    for number in ran:
        record(load.payloads(number, number + 1)[0])
    assert count(tmp_path) == len(ran)
    executions = Executions(tmp_path)
    begin = executions.start(ran[0]) - 1
    return judge("queue", load, Window(begin, begin + 2, begin + 4, COSTS, left), executions)


def test_jobs_count_that_ran_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _judged(tmp_path, monkeypatch, [0, 1, 2, 3, 4])
    assert (result.completed, result.failed, result.jobs_per_s, result.enqueued_per_s) == (4, 0, 1.0, 2.0)
    # All start one second after the first was due; each is due half a second after the one before.
    assert result.job_start_ms is not None
    assert result.job_start_ms.max == pytest.approx(1000, abs=20)
    assert result.job_start_ms.p50 == pytest.approx(0, abs=20)


@pytest.mark.parametrize(("ran", "left"), [([0, 1, 2], 0), ([0, 1, 2, 2, 3], 0), ([0, 1, 2, 3], 1)])
def test_failed_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[int], left: int) -> None:
    """A job that is lost, runs twice or leaves its row has failed."""
    result = _judged(tmp_path, monkeypatch, ran, left=left)
    assert (result.completed, result.failed) == (3, 1)


def run(contender: str, rate: float, failed: int = 0, *, cpu_ms: float = 1.0, mode: str = "bulk") -> BulkResult:
    return BulkResult(
        contender=contender,
        mode=mode,
        jobs=10,
        payload_bytes=100,
        rate=None,
        completed=10 - failed,
        failed=failed,
        duration_s=1.0,
        jobs_per_s=rate,
        enqueued_per_s=rate,
        job_start_ms=None,
        relay_peak_rss_bytes=int(rate),
        cpu_ms_per_job={"worker": cpu_ms / 2, "relay": cpu_ms / 2} if cpu_ms else {},
    )


def test_medians_ratios_and_spread() -> None:
    runs = [run("a", 10), run("b", 5), run("a", 30, failed=1), run("b", 6), run("a", 20), run("b", 4)]
    arms = {name: median_result([one for one in runs if one.contender == name]) for name in "ab"}
    comparison = BulkComparison("bulk", 3, arms, runs, {"postgres": {}}, {})
    assert (arms["a"].jobs_per_s, arms["a"].failed, arms["a"].relay_peak_rss_bytes) == (20, 1, 30)
    assert comparison.failed == 1
    numbers = comparison.to_json()
    assert numbers["ratios"]["a/b"] == {"jobs_per_s": 5.0, "cpu_ms_per_job": 1.0}, "the median of 2, 5 and 5"
    assert numbers["spread"]["a"] == {"jobs_per_s": [10, 30]}
    assert len(numbers["runs"]) == 6


@pytest.mark.parametrize(
    ("mode", "measured", "words"),
    [
        (
            "bulk",
            True,
            "An ordered queue has 1.08 times the processor time of a job and 0.90 times the jobs/s of a plain",
        ),
        ("steady", True, "An ordered queue has 1.08 times the processor time of a job of a plain one"),
        ("steady", False, None),
    ],
)
def test_cost_of_order(mode: str, measured: bool, words: str | None) -> None:
    """The table says what order costs: the median of the rounds' own ratios. A rate that is fixed has none."""
    rounds = [(10, 9.0, 1.08), (20, 20.0, 1.0), (10, 8.0, 1.2)]
    runs = [
        one
        for rate, ordered, cost in rounds
        for one in (
            run("delegator", rate, mode=mode, cpu_ms=2.0 * measured),
            run("ordered", ordered, mode=mode, cpu_ms=2.0 * cost * measured),
        )
    ]
    arms = {name: median_result([one for one in runs if one.contender == name]) for name in ("delegator", "ordered")}
    comparison = BulkComparison(mode, 3, arms, runs, {"postgres": {}}, {})
    caption = str(bulk_table(comparison, "delegator").caption)
    assert words in caption if words else "An ordered queue" not in caption
    plain = BulkComparison(mode, 3, {"delegator": arms["delegator"]}, runs[::2], {"postgres": {}}, {})
    assert "An ordered queue" not in str(bulk_table(plain, "delegator").caption)
