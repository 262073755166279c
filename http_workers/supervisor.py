"""Keeps several worker processes running and stops them together."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from delegator.errors import ConfigurationError
from delegator.runtime.backoff import Backoff
from delegator.runtime.child_processes import send_signal
from delegator.runtime.shutdown import Shutdown, shutdown_signals
from http_workers.children import Child, ChildrenHealth
from http_workers.options import WorkerOptions

EXIT_REFUSED: Final = 2
"""Exit status of a worker that could not start because of a wrong option or setting, or a refusal of a server."""

_log = logging.getLogger(__name__)
_STOP_MARGIN: Final = timedelta(seconds=5)
_KILL_MARGIN: Final = timedelta(seconds=1)
_STEADY_SECONDS: Final = 60.0
_PR_SET_PDEATHSIG: Final = 1


class WorkerRefusedError(ConfigurationError):
    """A worker process refused to start. The message is that of the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildArguments:
    """What a supervisor adds to the command line of a worker process."""

    index: int
    """Its index, from 0."""
    directory: Path
    """A directory that only the supervisor and its workers use."""
    supervisor: int
    """The supervisor's process id."""

    @property
    def socket(self) -> Path:
        """The Unix socket of the worker's health server."""
        return self.directory / f"{self.index}.sock"

    @property
    def refusal(self) -> Path:
        """The file for the reason of a refused start. The supervisor prints it once, not once for each worker."""
        return self.directory / f"{self.index}.refusal"

    def arguments(self) -> list[str]:
        """Return them in the form of the worker's command line."""
        place = ["--process-index", str(self.index), "--supervisor-directory", str(self.directory)]
        return [*place, "--supervisor-pid", str(self.supervisor)]


def die_with_supervisor(supervisor: int) -> None:
    """Let the kernel kill this process when its supervisor ends. It has an effect on Linux only.

    Args:
        supervisor: its process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(EXIT_REFUSED)


async def supervise(options: WorkerOptions, command: Sequence[str]) -> bool:
    """Run `options.processes` worker processes until a signal asks to stop.

    The first SIGTERM or SIGINT asks the workers to stop. The second one kills them.

    Args:
        options: how many processes, their grace, and where health is served.
        command: starts one worker process. The arguments of `ChildArguments` are appended.

    Returns:
        False: processes had to be killed.

    Raises:
        ConfigurationError: the health server's port is taken.
        WorkerRefusedError: a worker refused to start the first time.
    """
    with tempfile.TemporaryDirectory(prefix="http-worker-") as directory:
        supervisor = _Supervisor(options, command, Path(directory))
        async with shutdown_signals(exit_on_second=False) as shutdown:
            with options.health_server(supervisor.health):
                return await supervisor.run(shutdown)


@dataclass(slots=True)
class _Slot:
    arguments: ChildArguments
    child: Child
    process: asyncio.subprocess.Process | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(timedelta(milliseconds=500), timedelta(seconds=30)))


class _Supervisor:
    def __init__(self, options: WorkerOptions, command: Sequence[str], directory: Path) -> None:
        self._options = options
        self._command = command
        self._refusal: str | None = None
        self._killed = False
        self._slots = [self._slot(index, directory) for index in range(options.processes)]
        registry = CollectorRegistry()
        self._running = Gauge("delegator_worker_processes", "Worker processes that run now", registry=registry)
        self._restarts = Counter(
            "delegator_worker_restarts_total", "Worker processes replaced after they ended", registry=registry
        )
        self.health = ChildrenHealth([slot.child for slot in self._slots], registry)

    @staticmethod
    def _slot(index: int, directory: Path) -> _Slot:
        arguments = ChildArguments(index=index, directory=directory, supervisor=os.getpid())
        return _Slot(arguments, Child(index, arguments.socket))

    async def run(self, shutdown: Shutdown) -> bool:
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(slot, shutdown)) for slot in self._slots]
            stopper = group.create_task(self._stop_on_request(shutdown))
            await asyncio.wait(keepers)
            stopper.cancel()
        if self._refusal is not None:
            raise WorkerRefusedError(self._refusal)
        return not self._killed and not shutdown.insisted.is_set()

    async def _keep(self, slot: _Slot, shutdown: Shutdown) -> None:
        while not shutdown.requested.is_set():
            started = time.monotonic()
            status = await self._run_once(slot, shutdown)
            if shutdown.requested.is_set():
                return
            reason = _take_refusal(slot.arguments.refusal)
            lived = time.monotonic() - started
            if lived > _STEADY_SECONDS:
                slot.backoff.reset()
                slot.child.answered_at = time.monotonic()
            elif status == EXIT_REFUSED and slot.child.generation == 0:
                # Later the same status may mean that a server does not answer. Then the worker is started again.
                self._refusal = self._refusal or reason or "a worker process refused to start"
                shutdown.request()
                return
            _log.error(
                "worker_process_ended",
                extra={"worker": slot.child.index, "status": status, "seconds": round(lived, 3), "reason": reason},
            )
            await slot.backoff.sleep(shutdown.requested)
            slot.child.generation += 1
            self._restarts.inc()

    async def _run_once(self, slot: _Slot, shutdown: Shutdown) -> int:
        slot.arguments.socket.unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *slot.arguments.arguments(),
            stdin=asyncio.subprocess.DEVNULL,
            # A Ctrl-C in the terminal must reach the workers only once, from here.
            start_new_session=True,
        )
        slot.process = process
        slot.child.running = True
        self._running.inc()
        try:
            level = logging.INFO if slot.child.generation else logging.DEBUG
            _log.log(level, "worker_process_started", extra={"worker": slot.child.index, "pid": process.pid})
            if shutdown.requested.is_set():
                send_signal(process, signal.SIGTERM)
            return await process.wait()
        finally:
            if process.returncode is None:
                send_signal(process, signal.SIGKILL)
                await process.wait()
            slot.child.running = False
            slot.process = None
            self._running.dec()

    async def _stop_on_request(self, shutdown: Shutdown) -> None:
        await shutdown.requested.wait()
        level = logging.INFO if self._refusal is None else logging.DEBUG
        _log.log(level, "stopping", extra={"grace_seconds": self._options.grace.total_seconds()})
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout((self._options.grace + _STOP_MARGIN).total_seconds()):
                await shutdown.insisted.wait()
        except TimeoutError:
            _log.error("worker_processes_did_not_stop")
        else:
            self._signal(signal.SIGTERM)
            await asyncio.sleep(_KILL_MARGIN.total_seconds())
        self._killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.process is not None:
                send_signal(slot.process, number)


def _take_refusal(path: Path) -> str | None:
    try:
        reason = path.read_text()
    except FileNotFoundError:
        return None
    path.unlink()
    return reason
