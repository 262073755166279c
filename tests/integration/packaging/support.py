"""A virtual environment that holds what pip would install for the wheel, made without network.

Distributions that the wheel asks for, directly or not, are linked from the environment that runs the tests. Nothing
else is there: a dependency that the wheel forgets to declare is missing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
OURS = "temporal-delegator"
FOREIGN_SCHEMA = "schema"
"""PyPI's distribution, which has an import package of the same name."""


@dataclass(frozen=True)
class Installation:
    """The wheel, installed."""

    bin: Path
    """Where its commands are."""
    site_packages: Path
    """Where its packages are."""
    application: Path
    """A copy of the sample application: the working directory of every command."""

    async def run(self, *command: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Run a command to its end, and return its exit code and what it wrote to stdout and stderr."""
        async with self.running(*command, environment=environment) as process:
            async with asyncio.timeout(120):
                out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    @asynccontextmanager
    async def running(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Keep a command running for as long as the block; it is killed if it still runs at the end."""
        process = await asyncio.create_subprocess_exec(
            *(str(self.bin / command[0]), *command[1:]),
            cwd=self.application,
            env=_clean_environment(self.bin) | dict(environment or {}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def install(directory: Path, extras: Sequence[str], *, source: Path = ROOT) -> Installation:
    """Build the wheel and install it into a new virtual environment, beside the distribution called `schema`.

    Args:
        directory: where everything goes.
        extras: of the distribution.
        source: what is built.
    """
    _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)], cwd=source)
    (wheel,) = directory.glob("*.whl")
    home = directory / "venv"
    _run([sys.executable, "-m", "venv", "--without-pip", str(home)], cwd=directory)
    paths = sysconfig.get_paths("venv", vars={"base": str(home), "platbase": str(home)})
    site_packages, programs = Path(paths["purelib"]), Path(paths["scripts"])
    # Copied, not linked: a wheel that overwrites its files must not reach the tests' own environment.
    _add(FOREIGN_SCHEMA, site_packages, programs, copy=True)
    for name in _needed(wheel, extras):
        _add(name, site_packages, programs, copy=False)
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install"]
    _run([*pip, "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", str(wheel)], cwd=directory)
    application = directory / "application"
    shutil.copytree(Path(__file__).parent / "application", application)
    return Installation(programs, site_packages, application)


def _run(command: Sequence[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def _needed(wheel: Path, extras: Sequence[str]) -> set[str]:
    """Return the names of all distributions that a wheel needs, by the metadata inside it and inside theirs."""
    with zipfile.ZipFile(wheel) as archive:
        (info,) = (path for path in zipfile.Path(archive).iterdir() if path.name.endswith(".dist-info"))
        queue = _requirements(PathDistribution(info).requires or (), frozenset(extras))
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        entry = queue.pop()
        if entry not in seen:
            seen.add(entry)
            queue += _requirements(distribution(entry[0]).requires or (), entry[1])
    return {name for name, _ in seen}


def _requirements(lines: Sequence[str], extras: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    return [
        (canonicalize_name(requirement.name), frozenset(requirement.extras))
        for requirement in map(Requirement, lines)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def _add(name: str, site_packages: Path, programs: Path, *, copy: bool) -> None:
    found = distribution(name)
    for file in found.files or ():
        source = Path(str(found.locate_file(file))).resolve()
        if file.parts[0] == "..":
            if source.parent.name == "bin" and source.read_bytes()[:2] != b"#!":
                (programs / source.name).symlink_to(source)
            continue
        top = Path(str(found.locate_file(file.parts[0]))).resolve()
        target = site_packages / top.name
        if target.exists() or top.name == "__pycache__":
            continue
        if not copy:
            target.symlink_to(top)
        elif top.is_dir():
            shutil.copytree(top, target)
        else:
            shutil.copy(top, target)


def _clean_environment(programs: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("DELEGATOR_", "TEMPORAL_"))}
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        ours.pop(name, None)
    return ours | {"PATH": f"{programs}:/usr/bin:/bin", "TEMPORAL_CONFIG_FILE": os.devnull, "PYTHONUNBUFFERED": "1"}
