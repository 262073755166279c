"""Each program reads `DELEGATOR_DATA_CONVERTER` alike, before it asks any server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from delegator import delegated
from temporalio import workflow

@delegated
def price(article: str) -> int: return 3

@workflow.defn
class Shop:
    @workflow.run
    async def run(self) -> None: ...
"""


@pytest.mark.parametrize(
    "command",
    [
        "http-worker --import shop",
        "delegator worker --import shop --task-queue q",
        "delegator serve",
        "delegator dlq show 1",
    ],
)
def test_wrong_function(tmp_path: Path, command: str) -> None:
    """A function with required arguments, in a module of the current directory, gives one line and exit code 2."""
    (tmp_path / "shop.py").write_text(CODE)
    program, *arguments = command.split()
    settings = {
        "DELEGATOR_DATABASE_URL": "postgresql://x@127.0.0.1:1/x",
        "DELEGATOR_DATA_CONVERTER": "shop:price",
        "DELEGATOR_START_TIMEOUT": "1s",
    }
    ended = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=tmp_path,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"{program}: DELEGATOR_DATA_CONVERTER shop:price: ")
    assert line.endswith("missing a required argument: 'article'")
    assert (ended.returncode, ended.stdout) == (2, "")
