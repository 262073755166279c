"""The MkDocs hook: puts what the code knows into the pages that ask for it."""

from __future__ import annotations

from typing import Any

from docs_reference import fill_in


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each `<!-- generated: NAME -->` of a page; see MkDocs' manual."""
    return fill_in(markdown)
