"""The code in README.md and docs/, as the pages show it.

The language of a fenced block, its title and a comment before it decide what becomes of it:

- `python title="tasks.py"`: a file of the page's folder.
- `python`, `shell`: run in the page's folder, in the order of the page; it must end with exit code 0.
- `sql`: executed, and rolled back.
- `shell` after `<!-- code: background -->`: started, and stopped at the end of the page.
- `text title="output"`: what the run before it prints.
- after `<!-- code: containers -->`: run by `make docker-test`, in the root of the repository.
- after `<!-- code: not run -->`: not run. A test counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
_TITLE = re.compile(r'\stitle="([^"]*)"')
_COMMENT = re.compile(r"<!-- code: (.+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    """The page's path from the root of the repository."""
    line: int
    """Where it begins there."""
    language: str
    """The first word of its info."""
    title: str | None
    """Its title."""
    run: str | None
    """What the comment before it says: `background`, `containers` or `not run`."""
    code: str
    """Its text."""

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return f"{self.page}:{self.line}"

    @property
    def is_file(self) -> bool:
        """Whether it is a file of the page's folder."""
        return self.run is None and self.title not in (None, "output")

    @property
    def is_run(self) -> bool:
        """Whether it is run to its end."""
        return self.run is None and self.title is None and self.language in ("python", "shell", "sql")

    @property
    def is_output(self) -> bool:
        """Whether it is what the run before it prints."""
        return self.title == "output"


def pages() -> list[Path]:
    """Return every page, README.md first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    return list(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    said: str | None = None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            assert token.map is not None
            title = _TITLE.search(token.info)
            language, *_ = token.info.split() or [""]
            yield Block(
                page=page.relative_to(ROOT).as_posix(),
                line=token.map[0] + 1,
                language=language,
                title=title[1] if title else None,
                run=said,
                code=token.content,
            )
        comment = _COMMENT.match(token.content) if token.type == "html_block" else None
        said = comment[1] if comment else None
