"""All services of the payments as processes, on a stack that runs."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import aiohttp

from delegator import DependencyError
from delegator.dev import RunningStack, StackOptions, embedded_stack
from examples.payments.contracts import SERVICES, Times

PROCESSES: Final[Mapping[str, str]] = {
    "provider": "examples.payments.provider",
    "mail": "examples.payments.provider.mail",
    "worker": "examples.payments.orchestrator",
    "api": "examples.payments.orchestrator.api",
    "reporting": "examples.payments.reporting",
    **{service: f"examples.payments.{service}" for service in SERVICES},
}
_PORTS: Final = ("API", "REPORTING", "PROVIDER", "CONTROL", "SMTP")


class System:
    """The payments' processes. `running_system` makes it."""

    def __init__(self, stack: RunningStack, directory: Path, dispatch: str, times: Times) -> None:
        self.stack = stack
        self.directory = directory
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.urls = {name.lower(): f"http://127.0.0.1:{port}" for name, port in ports.items()}
        """Base URLs: api, reporting, provider, control."""
        self.mailbox = directory / "mailbox"
        """The mail server's Maildir."""
        self.provider_ledger = directory / "provider.db"
        """The provider's own ledger."""
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "DELEGATOR_"))},
            **stack.environment,
            **{f"PAYMENTS_{name}_PORT": str(port) for name, port in ports.items()},
            "PAYMENTS_STARTED_BY": "system",
            "PAYMENTS_DISPATCH": dispatch,
            "PAYMENTS_TIMES": json.dumps(asdict(times)),
            "PAYMENTS_API_URL": self.urls["api"],
            "PAYMENTS_PROVIDER_URL": self.urls["provider"],
            "PAYMENTS_CONTROL_URL": self.urls["control"],
            "PAYMENTS_CALLBACK_URL": f"{self.urls['api']}/gateway/callbacks",
            "PAYMENTS_CALLBACK_SECRET": secrets.token_hex(16),
            "PAYMENTS_PROVIDER_LEDGER": str(self.provider_ledger),
            "PAYMENTS_MAILBOX": str(self.mailbox),
            "PAYMENTS_SERVE_URL": stack.program_urls["serve"],
        }
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the services that run."""
        return {name: process.pid for name, process in self._processes.items() if process.returncode is None}

    async def start(self, name: str) -> None:
        """Start a service, and wait until it is ready.

        Raises:
            DependencyError: it ended. The message quotes its log.
        """
        log = self.directory / f"{name}.log"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", PROCESSES[name]),
                stdin=asyncio.subprocess.PIPE,  # its end tells the service that this process is gone
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=self.environment,
                start_new_session=True,  # a Ctrl-C in the terminal is for this process, which then stops them
            )
        self._processes[name] = process
        assert process.stdout is not None
        if not await process.stdout.readline():
            await process.wait()
            raise DependencyError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")

    async def start_all(self, names: tuple[str, ...] = tuple(PROCESSES)) -> None:
        """Start all services.

        Raises:
            DependencyError: one of them ended.
        """
        for answer in await asyncio.gather(*map(self.start, names), return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer

    async def stop(self, name: str) -> None:
        """Stop a service gracefully."""
        process = self._processes[name]
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            await self.kill(name)

    async def kill(self, name: str) -> None:
        """End a service with SIGKILL."""
        process = self._processes[name]
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def stop_all(self) -> None:
        """Stop all services."""
        await asyncio.gather(*map(self.stop, self._processes))

    async def provider(self, **behaviour: Any) -> None:
        """Set how the provider behaves; see `Behaviour`. With `user` only for one user's charges."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.put(self.urls["control"], json=behaviour),
        ):
            pass


@asynccontextmanager
async def running_system(
    stack: RunningStack, *, dispatch: str = "delegated", times: Times | None = None
) -> AsyncIterator[System]:
    """Run all services on a stack.

    Args:
        stack: it has the queues of `SERVICES`.
        dispatch: `delegated` or `classic`.
        times: how long payments wait.

    Raises:
        DependencyError: a service did not start.
    """
    with ExitStack() as files:
        directory = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="payments-", ignore_cleanup_errors=True)))
        system = System(stack, directory, dispatch, times or Times())
        try:
            await system.start_all()
            yield system
        finally:
            await system.stop_all()


def stack_options(**options: Any) -> StackOptions:
    """Return how the payments' stack runs: each service has a queue of its own."""
    return StackOptions(queues=("default", *SERVICES), headless=True, **options)


def payments_stack(**options: Any) -> Any:
    """Run an embedded stack with the payments' queues; see `embedded_stack`."""
    return embedded_stack(stack_options(**options))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        taken = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]
