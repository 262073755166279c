"""What the reference pages say, taken from the code, so that the two can't differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from docs_reference.api import api_page
from docs_reference.cli import cli_page
from docs_reference.log_events import log_events_page
from docs_reference.metrics import metrics_page
from docs_reference.readme import readme_page
from docs_reference.settings import settings_page
from docs_reference.tables import tables_page

PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "api": api_page,
        "cli": cli_page,
        "settings": settings_page,
        "metrics": metrics_page,
        "log-events": log_events_page,
        "tables": tables_page,
        "readme": readme_page,
    }
)
"""What makes the Markdown of each name."""

_MARKER = re.compile(r"^<!-- generated: (\S+) -->$", re.MULTILINE)


def fill_in(markdown: str) -> str:
    """Return a page's Markdown with each `<!-- generated: NAME -->` replaced.

    Raises:
        KeyError: there is no such name.
    """
    return _MARKER.sub(lambda match: PAGES[match[1]](), markdown)
