"""The reference pages leave nothing out."""

from __future__ import annotations

import re

import pytest
from docs_reference import PAGES, fill_in
from docs_reference.api import API_PACKAGES, public_names
from docs_reference.cli import programs
from docs_reference.log_events import log_events, meanings
from docs_reference.settings import variables
from docs_reference.sources import PACKAGES

from delegator.cli.main import COMMANDS
from tests.support.pages import ROOT
from tests.unit.test_public import EXPORTS


@pytest.mark.parametrize("name", PAGES)
def test_each_is_shown(name: str) -> None:
    """What is generated stands on its page."""
    page = ROOT / "docs" / ("index.md" if name == "readme" else f"reference/{name}.md")
    text = fill_in(page.read_text(encoding="utf-8"))
    assert PAGES[name]() in text
    assert "<!-- generated" not in text


def test_api_has_every_public_name() -> None:
    """Each package whose exports are deliberate is described, name by name."""
    page = PAGES["api"]()
    for package in EXPORTS:
        assert package.__name__ in API_PACKAGES
        for name in public_names(package.__name__):
            assert f"::: {package.__name__}.{name}\n" in page


def test_cli_has_every_command() -> None:
    """Each command of the program has a section, with its options."""
    page = PAGES["cli"]()
    words = [words for words, _ in programs()]
    assert {name for name in COMMANDS if not any(f"delegator {name}" in word for word in words)} == set()
    for word, command in programs():
        section = page.split(f"## {word}\n")[1].split("\n## ")[0]
        shown = [one for one in command.params if not one.hidden and one.name != "help" and one.opts[0].startswith("-")]
        assert all(one.opts[0] in section and (one.help or "x") for one in shown)


def test_settings_are_all_there() -> None:
    """Every variable that the source reads is described, with a meaning."""
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8") + PAGES["settings"]()
    assert all(meaning for _, meaning in variables().values())
    named = {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r"environ(?:\.get\(|\[)\"(DELEGATOR_\w+)\"", path.read_text(encoding="utf-8"))
    }
    assert named | set(variables()) == {name for name in named | set(variables()) if f"`{name}`" in page}


def test_log_events_have_meanings() -> None:
    """Each event of the code has a line in log_events.toml that says what it means, and no other has."""
    events = log_events()
    assert len(events) > 30
    said = meanings()
    assert set(said) == {event.name for event in events}
    assert all(said.values())


def test_log_events_know_all_calls() -> None:
    """No call of a logger escapes the scan: what a plain search finds is there."""
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            found |= set(re.findall(r"\b_?log(?:ger)?\.\w+\(\s*(?:[\w.]+,\s*)?\"([a-z]+_[a-z_]+)", text))
    example = {"sweep_done"}  # in a docstring
    assert found - example <= {event.name for event in log_events()}
