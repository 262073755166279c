"""The ledger: what happened to each job. Each process appends to files of its own.

An entry is kept when the process is killed. Moments are microseconds of this machine's wall clock. The moment of an
enqueue is from the server's clock: in a real deployment that may be another machine.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from temporalio import activity

from delegator.context import current_job
from loadtest.workload.entries import EntryWriter, create_file, entries_in

DIRECTORY_VARIABLE: Final = "LOADTEST_LEDGER"
"""Where the files are; read once by each process."""
SAMPLED: Final = 16
"""One of so many jobs has the moment of its enqueue recorded: to ask for it costs more than the job itself."""
_START: Final = struct.Struct("<IIqq")  # workflow, job, enqueued or 0, started
_RESULT: Final = struct.Struct("<IIq")  # workflow, job, had
_WAIT: Final = struct.Struct("<qII")  # when, jobs, finished


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of one job."""

    times: int
    """How often its handler was started."""
    enqueued: int | None
    """When the job was enqueued or the activity scheduled; None: it is not in the sample."""
    started: int
    """When its handler first started."""


@dataclass(frozen=True, slots=True)
class InlineWait:
    """One local activity that enqueued jobs and waited for them."""

    when: int
    """When it ended."""
    jobs: int
    """How many it enqueued."""
    finished: int
    """How many of them had finished by then."""


@dataclass(frozen=True, slots=True)
class Entries:
    """All entries of a run; the keys of jobs come from `job_key`."""

    executions: dict[int, Execution]
    """The jobs that ran."""
    results: dict[int, int]
    """When the workflow went on with the job's result."""
    waits: Sequence[InlineWait]
    """Waits for inline completion."""


def job_key(workflow: int, job: int) -> int:
    """Return the key of a job in `Entries`."""
    return workflow << 32 | job


def record_start(workflow: int, job: int) -> None:
    """Record that a handler starts. Called by handlers."""
    writer = _start_writer()
    if writer is not None:
        now = time.time_ns() // 1000
        writer.append(workflow, job, 0 if job % SAMPLED else _enqueued(), now)


def record_results(workflow: int, jobs: Iterable[int], directory: str | None = None) -> None:
    """Record that a workflow, or the client in its place, has the results of jobs.

    Args:
        workflow: number of the workflow; its code must not be replaying.
        jobs: numbers of the jobs.
        directory: of the ledger; None: take it from the environment.
    """
    file = _file("results-", directory)
    if file is not None:
        now = time.time_ns() // 1000
        os.write(file, b"".join([_RESULT.pack(workflow, job, now) for job in jobs]))


def record_wait(jobs: int, finished: int) -> None:
    """Record how many of the jobs that were enqueued together finished inline."""
    file = _file("waits-", None)
    if file is not None:
        os.write(file, _WAIT.pack(time.time_ns() // 1000, jobs, finished))


def forget_files() -> None:
    """Let this process create new files: a forked process must not write to those of its parent."""
    _start_writer.cache_clear()
    _file.cache_clear()


def read(directory: Path) -> Entries:
    """Return what the processes of a run wrote."""
    executions: dict[int, Execution] = {}
    for workflow, job, enqueued, started in _entries(directory, "starts", _START):
        key = job_key(workflow, job)
        seen = executions.get(key)
        if seen is None:
            executions[key] = Execution(1, enqueued or None, started)
        else:
            # Each attempt of an activity may have another time; the earliest counts.
            first = min(enqueued, seen.enqueued) if seen.enqueued else None
            executions[key] = Execution(seen.times + 1, first, min(seen.started, started))
    results: dict[int, int] = {}
    for workflow, job, had in _entries(directory, "results", _RESULT):
        # A failed workflow task runs again; its last run counts.
        results[job_key(workflow, job)] = max(results.get(job_key(workflow, job), 0), had)
    return Entries(executions, results, [InlineWait(*entry) for entry in _entries(directory, "waits", _WAIT)])


def _enqueued() -> int:
    moment = activity.info().scheduled_time if activity.in_activity() else current_job().enqueued_at
    return round(moment.timestamp() * 1_000_000) if moment else 0


def _entries(directory: Path, kind: str, entry: struct.Struct) -> Iterable[tuple[int, ...]]:
    for path in directory.glob(f"{kind}-*"):
        yield from entries_in(path, entry)


@cache
def _start_writer() -> EntryWriter | None:
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return EntryWriter(directory, "starts-", _START) if directory else None


@cache
def _file(prefix: str, directory: str | None) -> int | None:
    directory = directory or os.environ.get(DIRECTORY_VARIABLE)
    return create_file(directory, prefix) if directory else None


os.register_at_fork(after_in_child=forget_files)
