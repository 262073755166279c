from __future__ import annotations

import re
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from delegator.dev import RunningStack
from delegator.errors import ConfigurationError
from examples.wordcount.__main__ import count, source_files


def plain_loop(files: list[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for file in files:
        total.update(re.findall("[a-z]{4,}", Path(file).read_text(encoding="utf-8", errors="replace").lower()))
    return total


async def test_same_as_plain_loop(servers: RunningStack) -> None:
    """The example counts the words of the standard library exactly as a plain loop does."""
    files = source_files(Path(sysconfig.get_path("stdlib")))
    assert len(files) > 500
    top = 5_000
    words = await count(files, top)
    assert words == sorted(plain_loop(files).items(), key=lambda item: (-item[1], item[0]))[:top]


async def test_command_line(run_command, without_servers: None, tmp_path: Path) -> None:
    """Without servers in the environment the command starts a stack of its own."""
    (tmp_path / "one.py").write_text("spam spam eggs SPAM")
    (tmp_path / "two.py").write_text("eggs and bacon")
    code, output, errors = await run_command("wordcount", str(tmp_path))
    assert (code, errors) == (0, "")
    first, *lines = output.splitlines()
    assert first.startswith("2 files counted in ")
    assert [line.split() for line in lines] == [["3", "spam"], ["2", "eggs"], ["1", "bacon"]]


async def test_unreachable_servers(run_command, tmp_path: Path) -> None:
    """Servers that do not answer end the command with one line and exit code 2."""
    (tmp_path / "one.py").write_text("spam")
    environment = {"TEMPORAL_ADDRESS": "127.0.0.1:1", "DELEGATOR_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    code, output, errors = await run_command("wordcount", str(tmp_path), environment=environment)
    assert (code, output) == (2, "")
    assert errors.count("\n") == 1


def test_nothing_to_count(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has 0 \*\.py files"):
        source_files(tmp_path)
