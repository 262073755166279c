"""docker/systemd: each unit runs a command that exists, with options that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from docs_reference.cli import programs

from tests.unit.docker.compose import FOLDER

UNITS = sorted((FOLDER / "systemd").glob("*.service"))


def settings(unit: Path) -> dict[str, list[str]]:
    """Return the settings of all sections of a unit."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if line and not line.startswith(("[", "#")):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit(unit: Path) -> None:
    """Without root; it starts again after a crash unless it is a job; it is given its grace."""
    found = settings(unit)
    known = {words: {name for one in command.params for name in one.opts} for words, command in programs()}
    (line,) = found["ExecStart"]
    words = shlex.split(line)
    words[0] = Path(words[0]).name
    command = " ".join(words[:2]) if words[0] == "delegator" else words[0]
    assert {word for word in words if word.startswith("--")} <= known[command]
    assert found["User"] == ["delegator"]
    assert found["NoNewPrivileges"] == ["yes"]
    assert (found.get("Restart") == ["always"]) is (found["Type"] == ["exec"])
    if "--grace" in words:
        grace = int(words[words.index("--grace") + 1].removesuffix("s"))
        assert int(found["TimeoutStopSec"][0]) >= grace + 20
    for variable in re.findall(r"\$\{(\w+)\}", line):
        assert any(value.startswith(f"{variable}=") for value in found["Environment"])


def test_page_names_the_units() -> None:
    text = (FOLDER / "systemd/README.md").read_text()
    assert len(UNITS) == 5
    for unit in UNITS:
        assert unit.stem.rstrip("@") in text
