"""The jobs of `examples.taxi`. A movement that has a file of its name hangs after its effect, the first time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from delegator import delegated
from examples.database import database
from examples.taxi import tasks
from examples.taxi.tasks import Move, report, send_mail, settled, take_back

__all__ = ["database", "move", "report", "send_mail", "settled", "take_back"]

DIRECTORY = "EXAMPLE_TEST_DIRECTORY"


def fault_file(directory: Path, saga_id: str, step: str) -> Path:
    """Return the file that makes a movement hang. It is renamed to `*.done` when the movement hangs."""
    return directory / f"{saga_id}-{step}"


@delegated(name="move")
async def move(asked: Move) -> None:
    await tasks.move(asked)
    fault = fault_file(Path(os.environ[DIRECTORY]), asked.saga_id, asked.step)
    if fault.exists():
        fault.rename(fault.with_suffix(".done"))
        await asyncio.Event().wait()
