"""Type checkers and the public API: they accept right code, and report each mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("sample.py")
ROOT = Path(__file__).parents[3]


def marked() -> set[int]:
    """Return the lines of the sample that are mistakes."""
    lines = SAMPLE.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if re.search(r"# error: \w", line)}


def mypy(directory: Path) -> set[int]:
    (directory / "mypy.ini").write_text(f"[mypy]\nstrict = true\ncache_dir = {directory}\n")
    command = ("-m", "mypy", "--output", "json", "--config-file", str(directory / "mypy.ini"), str(SAMPLE))
    found = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=240)
    errors = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode < 2 and not found.stderr, found.stderr
    return {
        error["line"] for error in errors if error["severity"] == "error" and Path(error["file"]).name == SAMPLE.name
    }


def pyright(directory: Path) -> set[int]:
    """Run pyright's strict rules; `basedpyright` is pyright in a wheel that brings its own Node."""
    project = {"include": [str(SAMPLE)], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (directory / "pyrightconfig.json").write_text(json.dumps(project))
    program = Path(sys.executable).with_name("basedpyright")
    found = subprocess.run(
        [program, "--outputjson", "--pythonpath", sys.executable, "--project", str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    report = json.loads(found.stdout)
    assert report["summary"]["filesAnalyzed"] == 1, found.stdout
    errors = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    return {one["range"]["start"]["line"] + 1 for one in errors}


@pytest.mark.parametrize("checker", [mypy, pyright], ids=lambda checker: checker.__name__)
def test_sample(checker, tmp_path: Path):
    """Each checker accepts the right code and reports each of at least twenty mistakes."""
    wrong = marked()
    assert len(wrong) >= 20
    reported = checker(tmp_path)
    assert (wrong - reported, reported - wrong) == (set(), set()), "missed, and reported without reason"
