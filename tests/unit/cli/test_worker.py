"""What the command line of `delegator worker` means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from temporalio import activity, workflow

@activity.defn
async def price() -> int: return 3

@workflow.defn
class Shop:
    @workflow.run
    async def run(self) -> None: ...
"""
STAND_IN = """
import sys
import delegator.cli.worker as command
from delegator.cli.main import main

async def run(options, settings, modules):
    print(options.plugin.intercept)

command.run_temporal_worker = run
main()
"""


@pytest.mark.parametrize(
    ("arguments", "intercepts"),
    [
        ("", False),
        ("--intercept", True),
        ("--activities shop", True),
        ("--activities shop --intercept", True),
        ("--activities shop --no-intercept", False),
    ],
)
def test_intercept(tmp_path: Path, arguments: str, intercepts: bool) -> None:
    """The worker that delegates existing activities intercepts the calls of them, unless that is turned off."""
    (tmp_path / "shop.py").write_text(CODE)
    ended = subprocess.run(
        [sys.executable, "-c", STAND_IN, *f"worker --import shop --task-queue shop {arguments}".split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{intercepts}\n", "")
