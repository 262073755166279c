from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from loadtest.servers import versions
from loadtest.servers.versions import commit_of, local_versions, package_version

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(directory: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(directory), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "part.py").write_text("1\n")
    git(tmp_path, "add", "part.py")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "tag", "--annotate", "v1", "--message", "tags do not matter")
    return tmp_path


@needs_git
def test_commit(checkout: Path) -> None:
    """The commit of a checkout has a plus if there are changes."""
    commit = commit_of(checkout / "part.py")
    assert commit == git(checkout, "rev-parse", "--short", "HEAD")
    (checkout / "part.py").write_text("2\n")
    assert commit_of(checkout / "part.py") == f"{commit}+"


@needs_git
def test_package_below_a_checkout(checkout: Path) -> None:
    """A package in a virtual environment inside a checkout does not belong to the checkout."""
    installed = checkout / ".venv" / "part.py"
    installed.parent.mkdir()
    installed.write_text("1\n")
    assert commit_of(installed) is None


def test_no_commit_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(Path(__file__)) is None


def test_what_is_here() -> None:
    found = local_versions()
    assert all(found[part] for part in ("python", "temporalio", "psycopg", "aiohttp", "uvloop", "platform"))
    assert found["cores"] >= 1
    assert found["memory_mib"] > 0
    assert package_version("no-such-package") == "unknown"


def test_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor has the name that the machine gives it, if any."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(versions, "_PROCESSORS", file)
    assert local_versions()["cpu"] is None
    file.write_text("processor\t: 0\nmodel name\t: Fast (R) 1: 2\nprocessor\t: 1\nmodel name\t: Fast (R) 1: 2\n")
    assert local_versions()["cpu"] == "Fast (R) 1: 2"
    file.write_text("processor\t: 0\n")
    assert local_versions()["cpu"] is None
