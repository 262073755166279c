"""The lock files give what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)(.*)$", re.MULTILINE)


def locked(name: str) -> dict[str, set[str]]:
    """Return the versions that a lock file gives to each distribution: several where they differ by Python."""
    versions: dict[str, set[str]] = {}
    for found in LOCKED.finditer((ROOT / "requirements" / name).read_text()):
        versions.setdefault(canonicalize_name(found[1]), set()).add(found[2])
    return versions


def asked(*extras: str) -> list[Requirement]:
    """Return what pyproject.toml asks for, extras of our own followed."""
    requirements = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in extras:
        for requirement in map(Requirement, EXTRAS[extra]):
            if requirement.name == PROJECT["name"]:
                requirements += asked(*requirement.extras)
            else:
                requirements.append(requirement)
    return requirements


LOCKS = [
    ("dev.lock", ("dev",)),
    ("bench.lock", ("dev", "peers")),
    ("image.lock", ("crypto", "ui")),
    ("image-loadtest.lock", ("crypto", "ui", "loadtest")),
]


@pytest.mark.parametrize(("name", "extras"), LOCKS)
def test_the_lock_matches_pyproject(name: str, extras: tuple[str, ...]):
    """Every requirement is locked, at versions that it permits. If this fails: run `make lock`."""
    versions = locked(name)
    for requirement in asked(*extras):
        found = versions.get(canonicalize_name(requirement.name))
        assert found, f"{requirement} is not in requirements/{name}: run `make lock`"
        wrong = {version for version in found if version not in requirement.specifier}
        assert not wrong, f"requirements/{name} has {requirement.name} {wrong}, not {requirement}: run `make lock`"


def test_the_locks_agree():
    """A bench and the images run with the versions that the tests ran with."""
    dev, bench = locked("dev.lock"), locked("bench.lock")
    assert {name: bench.get(name) for name in dev} == dev
    for name in ("image.lock", "image-loadtest.lock", "build.lock"):
        here = locked(name)
        assert here
        assert {each: dev.get(each) for each in here} == here


def test_everything_locked_has_a_hash():
    for name in ("build.lock", *(lock for lock, _ in LOCKS)):
        text = (ROOT / "requirements" / name).read_text()
        for part in re.split(r"\n(?=[a-z0-9])", text)[1:]:
            assert "--hash=sha256:" in part, part.split("\n")[0]


def test_what_the_dependencies_ask_for_is_locked():
    """Every distribution that ours need here, directly or not, is locked: pip chooses no version by itself."""
    versions = locked("dev.lock")
    queue = [(requirement.name, frozenset(requirement.extras)) for requirement in asked("dev")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        name, extras = entry = queue.pop()
        if entry in seen:
            continue
        seen.add(entry)
        assert canonicalize_name(name) in versions, f"{name} is not in requirements/dev.lock: run `make lock`"
        found = distribution(name)
        if found.version not in versions[canonicalize_name(name)]:
            continue  # not installed from the lock (`make versions`): its requirements may be other ones
        for requirement in map(Requirement, found.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                queue.append((requirement.name, frozenset(requirement.extras)))


def test_every_dependency_has_a_lower_bound():
    for requirement in asked(*EXTRAS):
        assert [specifier for specifier in requirement.specifier if specifier.operator in (">=", "==")], requirement
