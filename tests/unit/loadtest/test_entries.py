from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.workload.entries import EntryWriter, count_entries, entries_in

ENTRY = struct.Struct("<Id")


@pytest.mark.parametrize("count", [0, 1, 2, 65_535, 65_536, 65_537, 200_000])
def test_entries_are_read_as_written(tmp_path: Path, count: int) -> None:
    writer = EntryWriter(str(tmp_path), "", ENTRY)
    for number in range(count):
        writer.append(number, 1.0)
    (path,) = tmp_path.iterdir()
    assert [number for number, _ in entries_in(path, ENTRY)] == list(range(count))
    assert count_entries(path, ENTRY) == count


def test_entries_outlive_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import struct, sys, time; from loadtest.workload.entries import EntryWriter; "
        "EntryWriter(sys.argv[1], '', struct.Struct('<Id')).append(7, 2.5); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    (path,) = tmp_path.iterdir()
    assert list(entries_in(path, ENTRY)) == [(7, 2.5)]
