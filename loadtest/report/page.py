"""The report: one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from delegator.errors import ConfigurationError
from loadtest.comparison import Comparison
from loadtest.report.page_sections import sections
from loadtest.report.page_style import stylesheet
from loadtest.report.page_svg import text_of
from loadtest.report.page_text import number

_TEMPLATE: Final = "page.html.j2"
_STYLES: Final = ("page.css", "plot.css")


def page(comparisons: Sequence[Comparison], *, data: str | None = None) -> str:
    """Write the page.

    Args:
        comparisons: what it is about.
        data: name of the file beside it that holds the numbers; None: there is none.

    Raises:
        ConfigurationError: Jinja is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise ConfigurationError(
            "the report is written with Jinja, which is not installed: pip install 'temporal-delegator[loadtest]'"
        ) from None

    def svg(root: Element) -> Markup:
        return Markup(text_of(root))

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("loadtest", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"svg": svg, "number": number}
    return environment.get_template(_TEMPLATE).render(
        sections=sections(comparisons), style=Markup("\n".join(map(stylesheet, _STYLES))), data=data
    )
