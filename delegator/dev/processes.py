"""Child processes that end when their parent ends."""

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

from delegator.runtime.child_processes import send_signal

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
    """File that its output is appended to."""
    environment: Mapping[str, str]
    """All of its environment variables."""
    account: Account | None = None
    """User to run as; None: the user of this process."""
    death_signal: signal.Signals = signal.SIGKILL
    """The signal that it gets when this process ends (Linux)."""
    directory: Path | None = None
    """Working directory; None: that of this process."""


class Child:
    """One run of a command. It has its own process group, so that a terminal's Ctrl-C does not reach it."""

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
        """Its process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code; None: it runs; negative: the number of the signal that ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end, kill the rest of its process group, and return its exit code."""
        code = await self._process.wait()
        self._kill_group()
        return code

    async def stop(self, how: signal.Signals, grace_seconds: float) -> int:
        """Ask it to end, and kill it if it does not end.

        Args:
            how: the signal that asks.
            grace_seconds: time until SIGKILL.
        """
        send_signal(self._process, how)
        try:
            async with asyncio.timeout(grace_seconds):
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
        # Only once: after the group has ended, the system may give its id to another group.
        if self._group_alive:
            self._group_alive = self._process.returncode is None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
