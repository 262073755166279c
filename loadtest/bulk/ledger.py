"""Which jobs ran, how often and when: the worker appends twelve bytes per execution to a file of its own."""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Final

from loadtest.bulk.load import number_of
from loadtest.entries import count_entries, entries_in, entry_writer

DIRECTORY_VARIABLE: Final = "LOADTEST_BULK_LEDGER"
"""Where the files are."""
_ENTRY: Final = struct.Struct("<Id")


def record(payload: bytes) -> None:
    """Write down that a handler starts; nothing when the process was not started by the load test."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory:
        entry_writer(directory, "", _ENTRY, os.getpid()).append(number_of(payload), time.time())


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
            for number, when in entries_in(path, _ENTRY):
                self._counts[number] += 1
                self._starts.setdefault(number, when)

    def times(self, number: int) -> int:
        """Return how often a job ran."""
        return self._counts[number]

    def start(self, number: int) -> float:
        """Return when a job that ran started first: seconds of the wall clock."""
        return self._starts[number]
