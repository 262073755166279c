import os
import time
from pathlib import Path

import pytest

from delegator.dev import directory
from delegator.dev.directory import StackDirectory
from delegator.errors import ConfigurationError


def test_one_stack_at_a_time(open_path: Path) -> None:
    first = StackDirectory.open(open_path / "stack", keep=True)
    with pytest.raises(ConfigurationError, match=r"another stack is running in .*--data-dir"):
        StackDirectory.open(open_path / "stack", keep=True)
    first.close()
    StackDirectory.open(open_path / "stack", keep=True).close()


def test_token(open_path: Path) -> None:
    """A kept directory keeps its token, which only its owner can read."""
    first = StackDirectory.open(open_path / "stack", keep=True)
    token = first.token()
    first.close()
    second = StackDirectory.open(open_path / "stack", keep=False)
    assert second.token() == token
    assert (open_path / "stack/token").stat().st_mode & 0o077 == 0
    second.close()
    assert not (open_path / "stack").exists()


def test_foreign_files(open_path: Path) -> None:
    """A directory that holds other files is refused and left as it is."""
    (open_path / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match="holds other files"):
        StackDirectory.open(open_path, keep=False)
    assert [path.name for path in open_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_directory(open_path: Path) -> None:
    (open_path / "file").touch()
    with pytest.raises(ConfigurationError, match="--data-dir"):
        StackDirectory.open(open_path / "file", keep=False)


def test_remove_abandoned(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of a killed stack is removed; those of running and starting stacks are not."""
    running = StackDirectory(_old(open_path / "delegator-stack-running"), keep=True)
    _old(open_path / "delegator-stack-running")
    dead = _old(open_path / "delegator-stack-dead")
    young = open_path / "delegator-stack-young"
    young.mkdir()
    (young / "lock").touch()
    monkeypatch.setattr(directory, "temporary_bases", lambda: (open_path,))
    directory.remove_abandoned()
    assert not dead.exists()
    assert young.exists()
    assert running.path.exists()
    running.close()


def _old(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    (path / "lock").touch()
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="a normal user's PostgreSQL goes where the user goes")
def test_unreachable_place(open_path: Path) -> None:
    """A place that PostgreSQL's user can't reach is refused, and nothing is left there."""
    closed = open_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="because you are root.*chmod o"):
        StackDirectory.open(closed / "inner" / "stack", keep=True)
    assert list(closed.iterdir()) == []


def test_others_read_nothing(open_path: Path) -> None:
    """Nobody else reads a kept stack's data or logs."""
    directory = StackDirectory.open(open_path / "kept", keep=True)
    directory.close()
    assert not (open_path / "kept").stat().st_mode & 0o066
    assert not (open_path / "kept" / "logs").stat().st_mode & 0o077
