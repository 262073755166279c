""".github/workflows call make targets that exist. `make check` runs actionlint, where `make deploy-tools` built it."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.unit.docker.compose import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))


def jobs(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["jobs"]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_targets_exist(path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assigned = set(re.findall(r"^([A-Z]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = [
        step["run"].split() for job in jobs(path.read_text()).values() for step in job.get("steps", []) if "run" in step
    ]
    made = [words for words in called if words[0] == "make"]
    assert made
    for words in made:
        assert words[1] in targets, words
        assert {word.split("=")[0] for word in words[2:]} <= assigned, words


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_least_privilege(path) -> None:
    """A job may write only where it says so, has a limit in time, and every action has a version."""
    text = path.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    for name, job in jobs(text).items():
        if "uses" not in job:
            assert "timeout-minutes" in job, name
        for step in job.get("steps", []):
            assert "uses" not in step or re.search(r"@(v\d+|release/v\d+)$", step["uses"]), step


def test_matrix_is_what_is_supported() -> None:
    """The matrix has each Python that pyproject.toml names."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = [found[1] for one in classifiers if (found := re.search(r":: (3\.\d+)$", one))]
    text = (ROOT / ".github/workflows/checks.yaml").read_text()
    assert jobs(text)["unit"]["strategy"]["matrix"]["python"] == supported
