"""Two releases of the engine on one database, each with its four processes."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from delegator.dev.processes import Command
from delegator.dev.programs import Program, ProgramSpec, child_environment

ROOT = Path(__file__).parents[3]
APPLICATION = Path(__file__).parent / "application"
PREVIOUS: str = tomllib.loads((Path(__file__).parent / "previous.toml").read_text())["ref"]
TASK_QUEUE = "upgrades"
ROLES = ("serve", "relay", "http-worker", "worker")
"""The processes, in the order in which the documentation replaces them."""
_ARGUMENTS = {
    "serve": ("-m", "delegator", "serve", "--port", "{port}"),
    "relay": ("-m", "delegator", "relay", "--port", "{port}"),
    "http-worker": (*("-m", "http_workers", "--import", "shop_of_two_releases.tasks"), "--port", "{port}"),
    "worker": (
        *("-m", "delegator", "worker", "--import", "shop_of_two_releases.flows"),
        *("--import", "shop_of_two_releases.tasks", "--task-queue", TASK_QUEUE, "--port", "{port}"),
    ),
}


def source_of(ref: str, directory: Path) -> bool:
    """Write the files of a commit into a directory. False: this clone does not have the commit."""
    done = subprocess.run(["git", "archive", ref], cwd=ROOT, capture_output=True, timeout=60, check=False)
    if done.returncode:
        return False
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return True


class ReleaseProgram(Program):
    """One process of a release."""

    def __init__(self, role: str, release: Release, log: Path, environment: dict[str, str]) -> None:
        path = "/livez" if role == "relay" else "/readyz"
        spec = ProgramSpec(name=role, arguments=_ARGUMENTS[role], health_path=path)
        super().__init__(spec, log, environment, preferred_port=None)
        self._python = release.python
        self.variables = environment
        """Of its environment. Each start reads them."""

    def command(self) -> Command:
        """Return its command, with the Python of its release, in the application's directory."""
        command = super().command()
        return Command(
            (str(self._python), *command.argv[1:]),
            self.log,
            # A relay of a stack is told its own URL. These know each other's.
            {**command.environment, **self.variables},
            directory=APPLICATION,
        )

    async def end(self) -> None:
        """Stop it as an operator does, and expect a graceful end."""
        child, self._child = self._child, None
        assert child is not None
        code = await child.stop(self.stop_signal, 60)
        assert code == 0, f"{self.name} ended with {code}:\n{child.tail(30)}"


@dataclass(frozen=True)
class Release:
    """A release of the engine."""

    name: str
    """For messages and for the ledger."""
    python: Path
    """The Python that has it installed."""

    async def migrate(self, environment: Mapping[str, str]) -> str:
        """Run its `delegator migrate`, and return what it said."""
        process = await asyncio.create_subprocess_exec(
            *(str(self.python), "-m", "delegator", "migrate"),
            cwd=APPLICATION,
            env=child_environment(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    def programs(self, environment: dict[str, str], log: Path) -> dict[str, ReleaseProgram]:
        """Describe its processes.

        Args:
            environment: of all processes.
            log: where their logs go.
        """
        variables = environment | {"RELEASE": self.name}
        return {role: ReleaseProgram(role, self, log / f"{self.name}-{role}.log", dict(variables)) for role in ROLES}


THIS = Release("N", Path(sys.executable))
"""The checkout that is tested."""
