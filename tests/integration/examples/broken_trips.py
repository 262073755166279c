"""The jobs of `examples.trip` with faults. Files that the test writes say which job fails, and how."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from temporalio.exceptions import ApplicationError

from delegator import delegated
from examples.database import database
from examples.trip import tasks
from examples.trip.tasks import Reservation

__all__ = ["database", "release", "reserve"]

DIRECTORY = "EXAMPLE_TEST_DIRECTORY"
_late: set[asyncio.Task[None]] = set()


def fault_file(directory: Path, trip_id: str, job: str, kind: str) -> Path:
    """Return the file that holds the fault of a step's job. `<file>.runs` has a line for each attempt."""
    return directory / f"{trip_id}-{job}-{kind}"


def kind_of(name: str) -> str:
    """Return whether it is the credit, the hotel or the flight of a trip."""
    return name.partition("-")[0]


@delegated(name="reserve")
async def reserve(wanted: Reservation) -> None:
    await _run("reserve", wanted)


@delegated(name="release")
async def release(wanted: Reservation) -> None:
    await _run("release", wanted)


async def _run(job: str, wanted: Reservation) -> None:
    file = fault_file(Path(os.environ[DIRECTORY]), wanted.trip_id, job, kind_of(wanted.name))
    fault = file.read_text() if file.exists() else ""
    with file.with_suffix(".runs").open("a") as runs:
        first = runs.tell() == 0
    if fault == "fails":
        _note(file)
        raise ApplicationError("broken", type="Broken", non_retryable=True)
    if fault == "fails for now":
        _note(file)
        raise ApplicationError("broken", type="Broken")
    if fault == "late":
        _note(file)
        try:
            await asyncio.Event().wait()
        finally:
            _late.add(asyncio.create_task(_when(file.with_suffix(".let"), job, wanted)))
    if fault == "waits":
        _note(file)
        await _exists(file.with_suffix(".let"))
    await getattr(tasks, job)(wanted)
    _note(file)
    if fault == "fails after its effect":
        raise ApplicationError("broken", type="Broken", non_retryable=True)
    if fault == "hangs after its effect" or (fault == "hangs once" and first):
        await asyncio.Event().wait()


def _note(file: Path) -> None:
    with file.with_suffix(".runs").open("a") as runs:
        runs.write("run\n")


async def _exists(file: Path) -> None:
    while not file.exists():
        await asyncio.sleep(0.01)


async def _when(file: Path, job: str, wanted: Reservation) -> None:
    """Take effect long after the attempt is over, as a worker does that was cut off from the network."""
    await _exists(file)
    try:
        await getattr(tasks, job)(wanted)
        said = "done"
    except ApplicationError as error:
        said = str(error.type)
    file.with_suffix(".said").write_text(said)
