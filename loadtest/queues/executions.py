"""The handler of queues without workflows, and its record: each worker appends an entry for every execution."""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

from delegator import delegated
from loadtest.queues.load import NUMBER_DIGITS, number_of
from loadtest.workload.entries import EntryWriter, count_entries, entries_in

DIRECTORY_VARIABLE: Final = "LOADTEST_BULK_LEDGER"
"""Where the files are; read once by each process."""
_ENTRY: Final = struct.Struct(f"<{NUMBER_DIGITS}sd")  # first bytes of the payload, moment


def record(payload: bytes) -> None:
    """Record that a handler starts, if the load test started this process."""
    writer = process_writer()
    if writer is not None:
        writer.append(payload, time.time())


@cache
def process_writer() -> EntryWriter | None:
    """Return this process's writer; None: the load test did not start it."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return EntryWriter(directory, "", _ENTRY) if directory else None


os.register_at_fork(after_in_child=process_writer.cache_clear)  # a forked process must not write to its parent's file


def count(directory: Path) -> int:
    """Return how many executions have begun, without reading them all."""
    return sum(count_entries(path, _ENTRY) for path in directory.iterdir())


class Executions:
    """All executions that were recorded."""

    def __init__(self, directory: Path) -> None:
        """Read the files in a directory."""
        self._counts: Counter[int] = Counter()
        self._starts: dict[int, float] = {}
        for path in directory.iterdir():
            for payload, when in entries_in(path, _ENTRY):
                number = number_of(payload)
                self._counts[number] += 1
                self._starts.setdefault(number, when)

    def times(self, number: int) -> int:
        """Return how often a job ran."""
        return self._counts[number]

    def start(self, number: int) -> float:
        """Return when a job first started, in seconds of the wall clock. The job must have run."""
        return self._starts[number]


@delegated(name="loadtest_bulk")
async def swallow(payload: bytes) -> None:
    """Take a job."""
    record(payload)
