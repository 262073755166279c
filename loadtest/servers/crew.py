"""Worker processes of a run: started together, watched, and stopped together, even if the load test is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from delegator.dev.processes import Child, Command
from delegator.errors import DelegatorError
from delegator.runtime.exception_groups import first_error

T = TypeVar("T")

_GRACE: Final = 10.0  # seconds from SIGTERM to SIGKILL


class WorkerDiedError(DelegatorError):
    """A worker process ended while the run needed it."""


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A process to start."""

    name: str
    """Its name in messages."""
    argv: Sequence[str]
    """The program, by its absolute path, and its arguments."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The running processes."""

    members: Sequence[tuple[WorkerProcess, Child]]
    """What runs, and as which process."""

    @property
    def pids(self) -> dict[str, int]:
        """Process ids, by name."""
        return {worker.name: child.pid for worker, child in self.members}

    def beside(self, other: Crew) -> Crew:
        """Return both crews as one."""
        return Crew((*self.members, *other.members))

    async def watch(self) -> NoReturn:
        """Wait until a process ends; without processes, for ever.

        Raises:
            WorkerDiedError: a process ended.
        """
        if not self.members:
            await asyncio.Event().wait()
        waits = {asyncio.ensure_future(child.wait()): (worker, child) for worker, child in self.members}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        worker, child = waits[done.pop()]
        raise WorkerDiedError(f"the {worker.name} ended (exit code {child.returncode}): {child.tail(1) or 'no output'}")

    async def during(self, work: Awaitable[T]) -> T:
        """Wait for `work` as long as all processes run.

        Raises:
            WorkerDiedError: a process ended first.
        """

        async def only() -> T:
            return await work

        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self.watch())
                result = await group.create_task(only())
                watch.cancel()
        except ExceptionGroup as errors:
            raise first_error(errors) from None
        return result

    def last_words(self) -> str:
        """Return the last line each process wrote."""
        return "; ".join(f"{worker.name}: {child.tail(1) or 'silent'}" for worker, child in self.members)


@asynccontextmanager
async def crew(
    workers: Sequence[WorkerProcess], *, environment: Mapping[str, str], directory: Path
) -> AsyncIterator[Crew]:
    """Start processes, and stop them when the block ends in any way.

    Args:
        workers: what to start.
        environment: added to this process's own.
        directory: where their output goes.
    """
    members: list[tuple[WorkerProcess, Child]] = []
    try:
        for worker in workers:
            command = Command(
                argv=tuple(worker.argv),
                log=directory / f"{worker.name.replace(' ', '-')}.log",
                environment={**os.environ, **environment},
                death_signal=signal.SIGTERM,  # an HTTP worker must end its own child processes
            )
            members.append((worker, await Child.spawn(command)))
        yield Crew(tuple(members))
    finally:
        await asyncio.gather(*(child.stop(signal.SIGTERM, _GRACE) for _, child in members))
