"""The processes beside an example: pools of HTTP workers, and the servers that stand for the outside world."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp

from delegator import DependencyError

_LOOPBACK = "127.0.0.1"
_LAUNCHER = Path(__file__).with_name("_launcher.py")
_START_SECONDS = 90.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02


class Program:
    """A Python program with a port, which an example starts, kills and starts again on the same port."""

    def __init__(
        self,
        name: str,
        *arguments: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        health_path: str | None = None,
    ) -> None:
        """Describe the program.

        Args:
            name: for messages.
            arguments: what follows `python`; `{port}` stands for its port.
            log: the file that its output is appended to.
            environment: variables beside those of this process. Each start reads them, so they may change.
            health_path: the path that answers 200 when it is ready; None: it is ready when its port is open.
        """
        self.name = name
        self.variables: Mapping[str, str] = {} if environment is None else environment
        """Its environment variables beside those of this process. Each start reads them."""
        self._log = log
        self._health_path = health_path
        # Bound, but not listening: the kernel gives the port to nobody else while the program is down.
        self._reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind((_LOOPBACK, 0))
        self.port: int = self._reservation.getsockname()[1]
        """Its port on 127.0.0.1."""
        self._arguments = tuple(argument.replace("{port}", str(self.port)) for argument in arguments)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Its base URL, if it speaks HTTP."""
        return f"http://{_LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process id; None: it has not been started."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            DependencyError: it ended, or was not ready in time. The message quotes its last line.
        """
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), sys.executable, *self._arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | dict(self.variables),
                start_new_session=True,  # a Ctrl-C in the terminal is for the example, which then stops the others
            )
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._is_ready():
                    if self._process.returncode is not None:
                        raise DependencyError(f"{self.name} ended at its start: {self._last_line()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise DependencyError(f"{self.name} did not start in {_START_SECONDS:g} s: {self._last_line()}") from None

    async def stop(self) -> None:
        """Ask it to end. Kill it if it does not."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            await self.kill()

    async def kill(self) -> None:
        """End it and the processes that it started at once, with SIGKILL. It gets no chance to clean up."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def restart(self) -> None:
        """Kill it, and start it again on the same port."""
        await self.kill()
        await self.start()

    def release(self) -> None:
        """Give its port up."""
        self._reservation.close()

    async def _is_ready(self) -> bool:
        try:
            if self._health_path is None:
                _, writer = await asyncio.open_connection(_LOOPBACK, self.port)
                writer.close()
                return True
            async with aiohttp.ClientSession() as session, session.get(self.url + self._health_path) as answer:
                return answer.status == 200
        except (OSError, aiohttp.ClientError):
            return False

    def _last_line(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"
