"""The site is built, complete, and needs no other server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, pages

_LOADED = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?((?:https?:)?//[^\"\s>]+)")
_STYLE = re.compile(
    r"<link[^>]*\srel=\"?(?:stylesheet|preconnect|icon|preload)[^>]*\shref=\"?((?:https?:)?//[^\"\s>]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return directory


def test_every_page_is_built(site: Path) -> None:
    """Each page below docs/ is in the site, with the generated part filled in."""
    for page in pages()[1:]:
        relative = page.relative_to(ROOT / "docs").with_suffix("")
        built = site / relative.parent / ("" if relative.name == "index" else relative.name) / "index.html"
        assert "generated:" not in built.read_text(encoding="utf-8")
    assert 'id="delegator.delegate_map"' in (site / "reference/api/index.html").read_text(encoding="utf-8")


def test_no_other_server(site: Path) -> None:
    """A browser loads fonts, scripts, styles and pictures from the site alone."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert _LOADED.findall(text) + _STYLE.findall(text) == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\"?https?:|@import \"?https?:", style.read_text(encoding="utf-8")), style


def test_search_finds_pages(site: Path) -> None:
    """The search index is in the site."""
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    assert "fencing token" in index
