"""The SDK's tests, and the virtual environment that runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

from delegator.errors import ConfigurationError

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".tools/conformance"
REPOSITORY: Final = "https://github.com/temporalio/sdk-python.git"
"""Holds the tests, with a tag for each version. The source distributions of the package index have none."""


@dataclass(frozen=True, slots=True)
class Sdk:
    """One version of the SDK."""

    version: str
    """Of the installed package."""
    tests_version: str
    """Of the tests: the newest tag of the repository that is not above `version`."""
    source: Path
    """The folder that holds `tests`."""
    python: Path
    """The interpreter of its virtual environment."""


def prepare(version: str | None, repository: str | None) -> Sdk:
    """Fetch the tests of a version and install what they need, once.

    Args:
        version: the SDK's version; None: the installed one; `lowest`: the lowest that pyproject.toml permits.
        repository: a URL or a folder to take the tests from; None: the SDK's repository on GitHub.

    Raises:
        ConfigurationError: they can't be had.
    """
    version = _lowest() if version == "lowest" else version or installed_version("temporalio")
    tests_version, source = _tests(version, repository or REPOSITORY)
    return Sdk(version, tests_version, source, _environment(version))


def _lowest() -> str:
    found = re.search(r'"temporalio>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert found is not None
    return f"{found[1]}.0" if found[1].count(".") == 1 else found[1]


def _tests(version: str, repository: str) -> tuple[str, Path]:
    exact = CACHE / f"tests-{version}"
    if exact.exists():
        return version, exact
    tags = _run("git", "ls-remote", "--tags", "--refs", repository).split()
    known = [name.removeprefix("refs/tags/") for name in tags if re.fullmatch(r"refs/tags/\d+\.\d+\.\d+", name)]
    fitting = [tag for tag in known if _number(tag) <= _number(version)]
    if not fitting:
        raise ConfigurationError(f"{repository} has no tag of the SDK's version {version} or of one before")
    tag = max(fitting, key=_number)
    target = CACHE / f"tests-{tag}"
    if not target.exists():
        clone = CACHE / f"clone-{tag}.{os.getpid()}"
        where = ("--depth", "1", "--branch", tag, _as_url(repository), str(clone))
        _run("git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--no-checkout", *where)
        # Not the package, which would be imported in place of the installed one.
        _run("git", "-C", str(clone), "checkout", "--quiet", tag, "--", "tests", "pyproject.toml")
        clone.rename(target)
    return tag, target


def _as_url(repository: str) -> str:
    # Git ignores --depth for a plain path.
    return Path(repository).resolve().as_uri() if Path(repository).is_dir() else repository


def _environment(version: str) -> Path:
    folder = CACHE / f"venv-{version}"
    python, done = folder / "bin/python", folder / ".installed"
    requirements = Path(__file__).with_name("requirements.txt")
    if done.exists() and done.read_text() == requirements.read_text():
        return python
    venv.create(folder, with_pip=True, clear=True)
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    _run(
        str(python), "-m", "pip", "install", *quiet, "--editable", str(ROOT), f"temporalio=={version}",
        "--requirement", str(requirements),
    )  # fmt: skip
    done.write_text(requirements.read_text())
    return python


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ConfigurationError(f"{' '.join(command[:4])} ...: {reason[-1] if reason else 'failed'}")
    return done.stdout


def temporal_program() -> Path:
    """Return Temporal's CLI, which the embedded stack uses."""
    return Path(sys.executable).parent / "temporal"
