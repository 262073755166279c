"""Which jobs ran, and how often: each handler process appends eight bytes per execution to a file of its own."""

from __future__ import annotations

import os
import struct
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

from loadtest.work import Piece

DIRECTORY_VARIABLE: Final = "LOADTEST_LEDGER"
_ENTRY: Final = struct.Struct("<II")


def record(piece: Piece) -> None:
    """Write down that a handler ran; nothing when the process was not started by the load test."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory:
        os.write(_open(directory, os.getpid()), _ENTRY.pack(piece.workflow, piece.job))


def executions(directory: Path) -> Counter[Piece]:
    """Return how often each job ran."""
    counts: Counter[Piece] = Counter()
    for path in directory.iterdir():
        counts.update(Piece(workflow, job) for workflow, job in _ENTRY.iter_unpack(path.read_bytes()))
    return counts


@cache
def _open(directory: str, pid: int) -> int:
    """Open this process's file; by `pid`, because a forked worker must not write through its parent's."""
    descriptor, _ = tempfile.mkstemp(prefix=f"{pid}-", dir=directory)
    return descriptor
