"""What every page has to be."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex

import pytest
from docs_reference.cli import programs

from loadtest.cli import build_app
from tests.support.pages import ROOT, blocks, pages

_MOST_NOT_RUN = 13
"""Blocks that only a person can try: servers on the usual ports, a clone, a machine of one's own."""
_LANGUAGES = {"python", "shell", "text", "sql", "json"}


def test_readme_is_short() -> None:
    """The front page has at most 900 words, and one program of twenty-five lines."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    (program,) = [block for block in blocks(ROOT / "README.md") if block.language == "python"]
    assert len([line for line in program.code.splitlines() if line.strip()]) <= 25


def test_blocks_are_run() -> None:
    """Blocks that are not run are few, and each language is one that the tests know."""
    found = [block for page in pages() for block in blocks(page)]
    assert {block.language for block in found} <= _LANGUAGES
    not_run = [block for block in found if block.run == "not run"]
    assert len(not_run) <= _MOST_NOT_RUN, [block.place for block in not_run]
    assert {block.run for block in found} <= {None, "not run", "background", "containers"}
    assert len([block for block in found if block.is_run or block.is_file]) > len(not_run)


def test_python_is_python() -> None:
    """A block that is not run is at least valid Python."""
    for page in pages():
        for block in blocks(page):
            if block.language == "python":
                ast.parse(block.code, block.place)


def test_json_is_json() -> None:
    """A block of JSON can be read."""
    for page in pages():
        for block in blocks(page):
            if block.language == "json":
                json.loads(block.code)


def test_commands_exist() -> None:
    """The commands of blocks that are not run, or run as servers, exist and have the options that are shown."""
    known = {words: {name for one in command.params for name in one.opts} for words, command in programs()}
    seen = set()
    for page in pages():
        for block in blocks(page):
            for line in block.code.splitlines() if block.language == "shell" else ():
                words = shlex.split(line, comments=True)
                longest = 3 if words[:1] == ["delegator"] else 1
                command = " ".join(words[:longest])
                if longest > 1 and command not in known:
                    command = " ".join(words[:2])
                if words[:1] in (["delegator"], ["http-worker"]):
                    assert {word for word in words if word.startswith("--")} <= known[command], f"{block.place}: {line}"
                    seen.add(command)
    assert len(seen) > 5


def test_load_test_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for the commands of the load test."""
    seen = 0
    for block in blocks(ROOT / "docs/benchmarks.md"):
        for line in block.code.splitlines() if block.language == "shell" else ():
            command, *options = line.removeprefix("python -m loadtest ").split()
            build_app()([command, "--help"], standalone_mode=False)
            shown = capsys.readouterr().out
            assert all(option in shown for option in options if option.startswith("--")), line
            seen += 1
    assert seen > 5


def test_pictures_are_drawn_from_their_sources() -> None:
    """`make pictures` was run after a source was changed."""
    sources = sorted((ROOT / "docs/pictures").glob("*.dot"))
    assert sources
    for source in sources:
        checksum = hashlib.sha256(source.read_bytes()).hexdigest()
        assert checksum in source.with_suffix(".svg").read_text(encoding="utf-8"), f"{source.name}: run make pictures"


def test_job_life_has_every_step() -> None:
    """The table of steps and the picture of a job's life have the same steps."""
    picture = (ROOT / "docs/pictures/job-life.dot").read_text(encoding="utf-8")
    text = (ROOT / "docs/explanation/job-life.md").read_text(encoding="utf-8")
    drawn = {int(number) for number in re.findall(r'label="(\d+) ', picture)}
    described = {int(number) for number in re.findall(r"^\| (\d+) ", text, re.MULTILINE)}
    assert drawn == described == set(range(1, max(drawn) + 1))
