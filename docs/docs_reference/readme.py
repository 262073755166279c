"""The home page: the repository's README, with its links as the site needs them."""

from __future__ import annotations

from docs_reference.sources import ROOT


def readme_page() -> str:
    """Return the README's Markdown."""
    return (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
