"""The base class of every server of the stack: start and wait until it answers, stop, kill."""

from __future__ import annotations

import asyncio
import re
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from delegator.dev.ports import reserve
from delegator.dev.processes import Child, Command
from delegator.errors import DependencyError

_TAKEN = re.compile(r"address already in use|could not bind|port \d+ .*is in use", re.IGNORECASE)
_POLL_SECONDS = 0.02


class Component(ABC):
    """A server process that can be started, stopped, killed and started again on the same ports."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """The signal that asks for a graceful stop."""
    stop_grace_seconds: ClassVar[float] = 10.0
    """How long a stop may take before the process is killed."""
    start_timeout_seconds: ClassVar[float] = 60.0
    """How long it may take until it answers."""
    start_attempts: ClassVar[int] = 8
    """Number of starts that are tried when another program has taken the port."""

    def __init__(self, name: str, log: Path, preferred_ports: tuple[int | None, ...] = ()) -> None:
        self.name = name
        self.log = log
        self._ports = [reserve(port) for port in preferred_ports]
        self._child: Child | None = None
        self._ports_are_final = False

    @property
    def ports(self) -> tuple[int, ...]:
        """Its ports. They do not change after it has started."""
        return tuple(port.number for port in self._ports)

    @property
    def child(self) -> Child | None:
        """The process; None: it was stopped, or it never started."""
        return self._child

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            DependencyError: it does not run.
        """
        if self._child is None or self._child.returncode is not None:
            raise DependencyError(f"{self.name} is not running")
        return self._child.pid

    async def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            DependencyError: it ended, or did not answer in time; the message quotes its log.
        """
        await self.prepare()
        for attempt in range(1, self.start_attempts + 1):
            child = await Child.spawn(self.command())
            self._child = child
            try:
                if await self._until_ready(child):
                    self._ports_are_final = True
                    return
            except BaseException:
                await self._discard(child)
                raise
            self._child = None
            if attempt == self.start_attempts or not self.may_retry(child.tail()):
                raise DependencyError(self.describe_end(child))
            await self._change_ports(attempt)

    async def stop(self) -> None:
        """Stop it gracefully, if it runs."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop(self.stop_signal, self.stop_grace_seconds)

    async def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        child, self._child = self._child, None
        if child is not None:
            await child.kill()

    def release(self) -> None:
        """Give its ports up."""
        for port in self._ports:
            port.release()

    def describe_end(self, child: Child) -> str:
        """Return a message that says how `child` ended."""
        code = child.returncode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return f"{self.name} ended ({how}); its log {self.log} ends with:\n{child.tail() or '(nothing)'}"

    def may_retry(self, log: str) -> bool:
        """Return whether to try again after a start that failed with this log."""
        return _TAKEN.search(log) is not None

    async def prepare(self) -> None:  # noqa: B027  (most have nothing to prepare)
        """Prepare what the first start needs."""

    @abstractmethod
    def command(self) -> Command:
        """Return the command, with the current ports."""

    @abstractmethod
    async def is_ready(self, child: Child) -> bool:
        """Return whether it answers."""

    async def _until_ready(self, child: Child) -> bool:
        try:
            async with asyncio.timeout(self.start_timeout_seconds):
                while child.returncode is None:
                    if await self.is_ready(child) and child.returncode is None:
                        return True
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise DependencyError(
                f"{self.name} does not answer after {self.start_timeout_seconds:g} s; its log {self.log} ends with:\n"
                f"{child.tail() or '(nothing)'}"
            ) from None
        return False

    async def _change_ports(self, attempt: int) -> None:
        if self._ports_are_final:
            # Clients know these ports, so wait until they are free.
            await asyncio.sleep(0.1 * attempt)
            return
        taken, self._ports = self._ports, [reserve() for _ in self._ports]
        for port in taken:
            port.release()

    async def _discard(self, child: Child) -> None:
        self._child = None
        await child.kill()
