"""Versions of everything that a run used, and the machine: needed to repeat it."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from delegator.cli.version import DISTRIBUTION
from loadtest.servers.databases import server_settings

_PACKAGES: Final = ("temporalio", "psycopg", "aiohttp", "uvloop")
_PROCESSORS: Final = Path("/proc/cpuinfo")
_GIT_TIMEOUT: Final = 10  # seconds


async def versions(client: Client, database_url: str | None) -> dict[str, Any]:
    """Return versions of all parts, PostgreSQL's settings about safe commits, and the machine.

    Args:
        client: asks Temporal.
        database_url: the delegator's database; None: there is none.
    """
    system = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    safety, postgres = await server_settings(database_url) if database_url else (None, None)
    return {
        "delegator": package_version(DISTRIBUTION),
        **await asyncio.to_thread(local_versions),
        "temporal": system.server_version,
        "postgres": postgres,
        "postgres_settings": safety,
    }


def local_versions() -> dict[str, Any]:
    """Return versions of what our own processes run, and the machine; an unknown value is None."""
    return {
        "commit": commit_of(Path(__file__)),
        "python": platform.python_version(),
        **{package: package_version(package) for package in _PACKAGES},
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "memory_mib": _memory_mib(),
    }


def package_version(package: str) -> str:
    """Return the version of a Python package; `unknown` if it is not installed as a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def commit_of(file: Path) -> str | None:
    """Return the git commit that a file belongs to, with a plus if the checkout has changes; None: it has none.

    Args:
        file: it may lie inside a checkout without belonging to it, as in a virtual environment.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", "--", file.name) is None:
        return None
    return _git(file.parent, "describe", "--always", "--dirty=+", "--exclude=*")


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        outcome = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return outcome.stdout.strip()


def _processor() -> str | None:
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    except (OSError, ValueError):
        return None
