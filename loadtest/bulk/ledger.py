"""Which jobs ran, how often and when: the worker appends sixteen bytes per execution to a file of its own."""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

from loadtest.bulk.load import NUMBER_DIGITS, number_of
from loadtest.entries import EntryWriter, count_entries, entries_in

DIRECTORY_VARIABLE: Final = "LOADTEST_BULK_LEDGER"
"""Where the files are; read once by each process."""
_ENTRY: Final = struct.Struct(f"<{NUMBER_DIGITS}sd")  # how a payload begins, when


def record(payload: bytes) -> None:
    """Write down that a handler starts; nothing when the process was not started by the load test."""
    writer = process_writer()
    if writer is not None:
        writer.append(payload, time.time())


@cache
def process_writer() -> EntryWriter | None:
    """Return this process's writer; None: it was not started by the load test."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return EntryWriter(directory, "", _ENTRY) if directory else None


os.register_at_fork(after_in_child=process_writer.cache_clear)  # not to write through the parent's


def count(directory: Path) -> int:
    """Return how many executions have begun: cheap, for waiting."""
    return sum(count_entries(path, _ENTRY) for path in directory.iterdir())


class Executions:
    """What a ledger says."""

    def __init__(self, directory: Path) -> None:
        """Read it."""
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
        """Return when a job that ran started first: seconds of the wall clock."""
        return self._starts[number]
