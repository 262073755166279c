"""Reads docker/compose.yaml as Compose does: variables filled in with their defaults, merged keys, env files."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docker"
FILE = FOLDER / "compose.yaml"
PROFILES = ("full", "beside", "relay", "loadtest")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")

Service = dict[str, Any]


def filled_in(text: str) -> str:
    """Return a text with the default of each variable."""
    return _VARIABLE.sub(lambda found: found[2] or "", text)


def services(profile: str | None = None) -> dict[str, Service]:
    """Return the services of a profile; None: all."""
    return {name: one for name, one in _services().items() if profile is None or profile in one["profiles"]}


@cache
def _services() -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load(filled_in(FILE.read_text()))["services"]
    return found


def is_ours(service: Service) -> bool:
    """Return whether a service runs one of our images."""
    return str(service["image"]).startswith("temporal-delegator")


def env_files(service: Service) -> dict[str, bool]:
    """Return the env files of a service, and whether each must exist."""
    listed = service.get("env_file", [])
    return {
        one if isinstance(one, str) else one["path"]: isinstance(one, str) or one.get("required", True)
        for one in ([listed] if isinstance(listed, str) else listed)
    }


def write_secrets(directory: Path) -> dict[str, dict[str, str]]:
    """Run make-secrets, and return what it wrote: the variables of each file."""
    subprocess.run([FOLDER / "make-secrets", directory], check=True, capture_output=True)
    return {
        file.name: dict(line.split("=", 1) for line in file.read_text().splitlines())
        for file in sorted(directory.iterdir())
    }
