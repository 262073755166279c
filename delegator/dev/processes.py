"""Child processes that never outlive their parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_LAUNCHER = Path(__file__).with_name("_launcher.py")
_TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Account:
    """A user of the operating system."""

    name: str
    """Its name, for messages."""
    uid: int
    """User id."""
    gid: int
    """Primary group id."""


@dataclass(frozen=True)
class Command:
    """A program to run."""

    argv: tuple[str, ...]
    """The program, by its absolute path, and its arguments."""
    log: Path
    """File that gets its output; appended to."""
    environment: Mapping[str, str]
    """Its whole environment."""
    account: Account | None = None
    """User to run as; None: ours."""
    death_signal: signal.Signals = signal.SIGKILL
    """What it gets when our process dies (Linux)."""
    directory: Path | None = None
    """Working directory; None: ours."""


class Child:
    """One run of a command, in a process group of its own so that a terminal's Ctrl-C does not reach it."""

    def __init__(self, command: Command, process: asyncio.subprocess.Process, log_start: int) -> None:
        self.command = command
        self._process = process
        self._log_start = log_start
        self._group_alive = True

    @classmethod
    async def spawn(cls, command: Command) -> Self:
        """Start the program."""
        account = command.account
        launch = (
            os.getpid(),
            int(command.death_signal),
            account.uid if account else -1,
            account.gid if account else -1,
        )
        with command.log.open("ab") as log:
            start = log.tell()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_LAUNCHER),
                *(str(value) for value in launch),
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(command.environment),
                cwd=command.directory,
                start_new_session=True,
            )
        return cls(command, process, start)

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end, end what is left of its process group, and return its exit code."""
        code = await self._process.wait()
        self._kill_group()
        return code

    async def stop(self, how: signal.Signals, grace: float) -> int:
        """Ask it to end, and end it when it does not.

        Args:
            how: the signal that asks.
            grace: seconds until SIGKILL.
        """
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            return await self.kill()
        except asyncio.CancelledError:
            self._kill_group()
            raise

    async def kill(self) -> int:
        """End it and its process group with SIGKILL, at once."""
        self._kill_group()
        return await self._process.wait()

    def tail(self, lines: int = 12) -> str:
        """Return the last lines that this run logged."""
        try:
            with self.command.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(line for line in text.splitlines()[-lines:] if line.strip())

    def _kill_group(self) -> None:
        # Once only: long after the group's end its id may be another's.
        if self._group_alive:
            self._group_alive = self._process.returncode is None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
