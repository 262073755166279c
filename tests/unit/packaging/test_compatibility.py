"""The compatibility table says what pyproject.toml, the scripts and the declarations say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def row(part: str) -> list[str]:
    """Return the cells of a part's row: permitted, tested, how."""
    for line in (ROOT / "docs" / "reference" / "compatibility.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0].partition(" (")[0] == part:
            return cells[1:]
    raise AssertionError(f"docs/reference/compatibility.md has no row {part}")


def bound(distribution: str) -> str:
    """Return the bound that pyproject.toml gives to a dependency."""
    for line in PROJECT["dependencies"]:
        if found := re.match(rf"{distribution}(\[[^]]*\])?(>=.*)$", line):
            return found[2]
    raise AssertionError(distribution)


def test_python():
    permitted, tested, _ = row("Python")
    assert permitted == f"`{PROJECT['requires-python']}`"
    prefix = "Programming Language :: Python :: 3."
    claimed = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert tested == ", ".join(claimed)
    assert claimed[0] == PROJECT["requires-python"].removeprefix(">=")


@pytest.mark.parametrize("distribution", ["temporalio", "psycopg"])
def test_bounds(distribution: str):
    permitted, tested, _ = row(distribution)
    assert permitted == f"`{bound(distribution)}`"
    assert tested.startswith(bound(distribution).removeprefix(">="))


def test_temporal_server():
    """The version is the one that `make temporal-postgres` builds."""
    found = re.search(r"^temporal_version=v(.*)$", (ROOT / ".ci" / "build-temporal").read_text(), re.MULTILINE)
    assert found
    assert row("Temporal server")[1] == found[1]


def test_atlas():
    """The version is the one that `make atlas` builds."""
    found = re.search(r"^atlas_version=(v.*)$", (ROOT / ".ci" / "build-atlas").read_text(), re.MULTILINE)
    assert found
    assert row("Atlas")[1] == found[1]


def test_the_lowest_temporalio_is_told_in_the_changelog():
    """A bound that is raised later must be told: users then have to update."""
    assert f"temporalio {bound('temporalio').removeprefix('>=')}" in (ROOT / "CHANGELOG.md").read_text()


def test_each_hook_runs_a_program_of_the_checkout():
    """Hooks need no network: every one is local, and its program is in .venv."""
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"- repo: (\S+)", text) == ["local"]
    entries = re.findall(r"entry: (\S+)", text)
    assert len(entries) == len(re.findall(r"- id: ", text)) > 0
    assert {entry.rpartition("/")[0] for entry in entries} == {".venv/bin"}
