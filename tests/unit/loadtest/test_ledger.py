from __future__ import annotations

import multiprocessing
from pathlib import Path

from loadtest.ledger import DIRECTORY_VARIABLE, executions, record
from loadtest.work import Piece


def test_counts_executions_over_processes(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    record(Piece(1, 2))
    record(Piece(1, 2))
    other = multiprocessing.get_context("spawn").Process(target=record, args=(Piece(2**32 - 1, 0),))
    other.start()
    other.join()
    assert executions(tmp_path) == {Piece(1, 2): 2, Piece(2**32 - 1, 0): 1}


def test_without_a_load_test_nothing_is_written(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    record(Piece(1, 2))
    assert not list(tmp_path.iterdir())
