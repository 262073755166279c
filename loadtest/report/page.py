"""The report: one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import jinja2
from markupsafe import Markup

from loadtest.report.colours import theme
from loadtest.report.sections import sections
from loadtest.report.text import number
from loadtest.results.comparison import Comparison

_TEMPLATE: Final = "page.html.j2"
_STYLE: Final = "page.css"


def page(comparisons: Sequence[Comparison], *, data: str | None = None) -> str:
    """Write the page.

    Args:
        comparisons: what it shows, a section each.
        data: name of the file beside it that holds the numbers; None: there is none.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("loadtest", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"svg": Markup, "number": number}
    style = files(__package__).joinpath(_STYLE).read_text(encoding="utf-8")
    return environment.get_template(_TEMPLATE).render(
        sections=sections(comparisons), style=Markup(f"{theme()}\n{style}"), data=data
    )
