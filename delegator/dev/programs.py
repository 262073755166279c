"""The engine's own processes as components of the stack."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from delegator.dev.component import Component
from delegator.dev.ports import LOOPBACK
from delegator.dev.processes import Child, Command

_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=1)


@dataclass(frozen=True)
class ProgramSpec:
    """A process of the engine that the stack runs."""

    name: str
    """The component's name."""
    arguments: tuple[str, ...]
    """Arguments of `python`; `{port}` stands for its port."""
    preferred_port: int | None = None
    """The usual port."""
    health_path: str | None = None
    """Path of its readiness check; None: it has no port, and is ready when it runs."""
    module: str | None = None
    """The module that it needs. Without that module the stack leaves the process out."""

    @property
    def available(self) -> bool:
        """Whether its module is installed."""
        return self.module is None or importlib.util.find_spec(self.module) is not None


RELAY = ProgramSpec(
    name="relay",
    arguments=("-m", "delegator", "relay", "--port", "{port}"),
    preferred_port=7376,
    health_path="/health",
    module="delegator.cli.relay",
)
SERVE = ProgramSpec(
    name="serve",
    arguments=("-m", "delegator", "serve", "--port", "{port}"),
    health_path="/livez",
    module="delegator.cli.serve",
)
CODEC_SERVER = ProgramSpec(
    name="codec-server",
    arguments=("-m", "delegator", "codec-server", "--port", "{port}"),
    preferred_port=8081,
    health_path="/readyz",
    module="delegator.cli.codec_server",
)
"""Decodes payloads for Temporal's UI, and shows outcomes of jobs as JSON there."""
PROGRAMS = (RELAY, SERVE)


class Program(Component):
    """One process of the engine."""

    def __init__(
        self, spec: ProgramSpec, log: Path, environment: Mapping[str, str], *, preferred_port: int | None
    ) -> None:
        """Describe the process.

        Args:
            spec: what to run.
            log: its log file.
            environment: variables that are added to those of this process. Each start reads them, so they may change.
            preferred_port: the usual port; None: any port.
        """
        has_port = spec.health_path is not None
        super().__init__(spec.name, log, (preferred_port,) if has_port else ())
        self._spec = spec
        self._environment = environment
        self.more_arguments: tuple[str, ...] = ()
        """Added to those of its description at the next start."""

    @property
    def url(self) -> str | None:
        """Its base URL; None: it has no port."""
        return f"http://{LOOPBACK}:{self.ports[0]}" if self.ports else None

    def command(self) -> Command:
        """Return its command."""
        port = str(self.ports[0]) if self.ports else ""
        arguments = [argument.replace("{port}", port) for argument in self._spec.arguments]
        environment = child_environment(self._environment)
        if self.name == RELAY.name and self.url is not None:
            environment["DELEGATOR_STREAM_URL"] = self.url
        return Command((sys.executable, *arguments, *self.more_arguments), self.log, environment)

    async def is_ready(self, child: Child) -> bool:
        """Return whether its health check passes."""
        if self.url is None or self._spec.health_path is None:
            return True
        try:
            async with (
                aiohttp.ClientSession(timeout=_PROBE_TIMEOUT) as session,
                session.get(self.url + self._spec.health_path) as response,
            ):
                return response.status == 200
        except (TimeoutError, aiohttp.ClientError):
            return False


def child_environment(stack: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process with the stack's variables. Settings of another Temporal are removed."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("TEMPORAL_", "DELEGATOR_"))}
    return ours | {"TEMPORAL_CONFIG_FILE": os.devnull, "PYTHONUNBUFFERED": "1"} | dict(stack)
