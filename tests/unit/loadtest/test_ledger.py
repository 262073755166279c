from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from loadtest.workload.ledger import (
    DIRECTORY_VARIABLE,
    Execution,
    InlineWait,
    forget_files,
    job_key,
    read,
    record_results,
    record_start,
    record_wait,
)

SCHEDULED = datetime(2026, 1, 1, tzinfo=UTC)


def run_job(workflow: int, job: int, scheduled: datetime = SCHEDULED) -> None:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, scheduled_time=scheduled)
    environment.run(lambda: record_start(workflow, job))


@pytest.fixture(autouse=True)
def own_files() -> Iterator[None]:
    forget_files()
    yield
    forget_files()


@pytest.fixture
def ledger(monkeypatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    return tmp_path


def test_counts_executions_over_processes(ledger: Path) -> None:
    before = time.time_ns() // 1000
    run_job(1, 32, SCHEDULED + timedelta(seconds=5))
    after = time.time_ns() // 1000
    time.sleep(0.001)
    run_job(1, 32)
    other = multiprocessing.get_context("spawn").Process(target=run_job, args=(2**32 - 1, 0))
    other.start()
    other.join()
    executions = read(ledger).executions
    assert set(executions) == {job_key(1, 32), job_key(2**32 - 1, 0)}
    assert executions[job_key(2**32 - 1, 0)].times == 1
    twice = executions[job_key(1, 32)]
    assert twice == Execution(2, round(SCHEDULED.timestamp() * 1e6), twice.started)
    assert before <= twice.started <= after


def test_the_enqueue_of_a_sample_is_noted(ledger: Path) -> None:
    for job in range(40):
        run_job(1, job)
    run_job(1, 5)
    executions = read(ledger).executions
    assert [job for job in range(40) if executions[job_key(1, job)].enqueued] == [0, 16, 32]
    assert executions[job_key(1, 5)].times == 2


def test_results_and_waits(ledger: Path) -> None:
    before = time.time_ns() // 1000
    record_results(7, range(3))
    record_wait(5, 4)
    entries = read(ledger)
    assert set(entries.results) == {job_key(7, job) for job in range(3)}
    assert all(before <= had <= time.time_ns() // 1000 for had in entries.results.values())
    (wait,) = entries.waits
    assert wait == InlineWait(wait.when, 5, 4)


def test_fork(tmp_path: Path) -> None:
    """A forked process writes to files of its own."""
    program = (
        "import os; from loadtest.workload.ledger import record_results, record_start, record_wait\n"
        "for job in (1, 2):\n"
        "    record_start(7, job); record_results(7, (job,)); record_wait(job, job)\n"
        "    if job == 1 and os.fork(): os.wait()"
    )
    environment = os.environ | {DIRECTORY_VARIABLE: str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    entries = read(tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    assert {key: execution.times for key, execution in entries.executions.items()} == {
        job_key(7, 1): 1,
        job_key(7, 2): 2,
    }
    assert sorted(wait.jobs for wait in entries.waits) == [1, 2, 2]


def test_a_directory_can_be_named(tmp_path: Path) -> None:
    record_results(7, (1,), str(tmp_path))
    assert set(read(tmp_path).results) == {job_key(7, 1)}


def test_incomplete_entry(ledger: Path) -> None:
    """An incomplete entry at the end of a file does not hide the others."""
    record_results(7, (1, 2))
    (path,) = ledger.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert set(read(ledger).results) == {job_key(7, 1)}


def test_no_load_test(monkeypatch, tmp_path: Path) -> None:
    """A process that the load test did not start writes nothing."""
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    record_start(1, 2)
    record_results(1, (2,))
    record_wait(1, 1)
    assert not list(tmp_path.iterdir())
