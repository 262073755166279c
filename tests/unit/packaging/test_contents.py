"""What the wheel and the sdist hold: our packages, whole, and nothing that belongs to a checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BASE = "temporal_delegator-"
PACKAGES = {"delegator": ROOT / "delegator", "http_workers": ROOT / "http_workers"}
SCHEMA = ROOT / "schema" / "delegator_schema"
MIGRATIONS = ROOT / "atlas" / "migrations"


def build(source: Path, target: str, directory: Path) -> Path:
    """Build one distribution with the locked hatchling, without network."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(directory)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = directory.iterdir()
    return built


def files(directory: Path, name: str) -> set[str]:
    """Return the files below a directory, as they are called when it has another name."""
    return {
        f"{name}/{path.relative_to(directory)}"
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel(wheel: Path):
    """The wheel holds three packages, the migrations and the metadata: each file, and no other."""
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    metadata = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    expected = {f"{info}/{name}" for name in metadata}
    for name, directory in PACKAGES.items():
        expected |= files(directory, name)
    expected |= files(SCHEMA, "delegator_schema") | files(MIGRATIONS, "delegator_schema/migrations")
    assert names(wheel) == expected
    assert {f"{name}/py.typed" for name in (*PACKAGES, "delegator_schema")} <= expected
    assert "delegator_schema/migrations/atlas.sum" in expected


def test_wheel_commands(wheel: Path):
    """The load test has no command: it runs from a checkout only."""
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        lines = archive.read(entry_points).decode().split("\n")
    assert [line.split(" = ")[0] for line in lines if " = " in line] == ["delegator", "http-worker"]


def test_wheel_imports_nothing_from_the_checkout(wheel: Path):
    """No module of the wheel names `loadtest`, `examples` or `tests`: an application may have packages so called."""
    with zipfile.ZipFile(wheel) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    wanted = ("import loadtest", "import examples", "import tests", "from loadtest", "from examples", "from tests")
    quoted = ('"loadtest', '"examples', '"tests', '"-m", "loadtest')
    assert [name for name, text in sources.items() if any(word in text for word in (*wanted, *quoted))] == []


def test_metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = BytesParser().parsebytes(archive.read(path))
    urls = {line.split(", ")[0] for line in metadata.get_all("Project-URL", [])}
    assert urls == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_sdist(sdist: Path):
    """The sdist holds what the wheel is built from, and no tests: those need the whole checkout."""
    top = sdist.name.removesuffix(".tar.gz")
    with tarfile.open(sdist) as archive:
        held = {member.name.removeprefix(f"{top}/") for member in archive if member.isfile()}
    expected = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO", ".gitignore"}
    for name, directory in PACKAGES.items():
        expected |= files(directory, name)
    expected |= files(SCHEMA, "schema/delegator_schema") | files(MIGRATIONS, "atlas/migrations")
    assert held == expected


def test_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path):
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xzf", str(sdist), "-C", str(tmp_path / "unpacked")], timeout=60, check=True)
    (source,) = (tmp_path / "unpacked").iterdir()
    again = build(source, "wheel", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert {name: one.read(name) for name in one.namelist()} == {name: two.read(name) for name in two.namelist()}
