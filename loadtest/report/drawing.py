"""From a matplotlib figure to SVG text that takes its colours from the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from loadtest.report.colours import DASHES, LIGHT, theme
from loadtest.report.text import short

POINTS: Final = 72.0
"""Points in an inch. matplotlib sizes figures in inches and everything else in points."""
TINY: Final = 1e-9
"""Numbers below this are drawn as zero: an axis can't end at much less."""
_SVG: Final = "http://www.w3.org/2000/svg"
_LINK: Final = "http://www.w3.org/1999/xlink"
_RULES: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # letters stay text, which can be searched and is shown in the reader's fonts
    "svg.hashsalt": "loadtest",  # the same numbers make the same text
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 11,
    "font.sans-serif": ["DejaVu Sans"],  # measures the letters; the stylesheet names the fonts that are shown
    "text.color": LIGHT["ink"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LIGHT["axis"],
    "axes.labelcolor": LIGHT["soft"],
    "axes.titlecolor": LIGHT["soft"],
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.labelsize": 11.5,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.xmargin": 0,
    "axes.ymargin": 0,
    "axes.autolimit_mode": "round_numbers",
    "grid.color": LIGHT["rule"],
    "grid.linewidth": 1,
    "lines.linewidth": 2.4,
    "lines.scale_dashes": False,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "xtick.color": LIGHT["axis"],
    "xtick.labelcolor": LIGHT["soft"],
    "xtick.labelsize": 11,
    "ytick.left": False,
    "ytick.labelcolor": LIGHT["soft"],
    "ytick.labelsize": 11,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in our style inside the block. matplotlib's own settings are restored after it."""
    with mpl.rc_context(_RULES), warnings.catch_warnings():
        # The reader's browser has other fonts than matplotlib.
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure.

    Args:
        width: points.
        height: points.
    """
    return Figure(figsize=(width / POINTS, height / POINTS))


def new_chart(width: float, height: float, *, left: float, top: float, right: float, bottom: float) -> Axes:
    """Return the axes of a figure that has no others.

    Args:
        width: of the figure, in points.
        height: of the figure, in points.
        left: points beside the axes.
        top: points above them.
        right: points beside them.
        bottom: points below them.
    """
    figure = new_figure(width, height)
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))


def linear_axis(axes: Axes, which: str) -> None:
    """Let an axis begin at zero, end at a round number and have few marks with short labels, and a grid.

    Args:
        axes: the chart.
        which: `x` or `y`.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def line_style(kind: str) -> str | tuple[float, tuple[float, ...]]:
    """Return matplotlib's line style of an arm.

    Args:
        kind: colour variable of the arm.
    """
    return (0.0, DASHES[kind]) if kind in DASHES else "solid"


def svg_text(drawn: Figure | Axes, *, name: str, title: str, description: str, standalone: bool = False) -> str:
    """Return a figure as the text of an SVG element that says what it shows to people who can't see it.

    Args:
        drawn: a figure, or the axes of one, drawn within `house_style`, in colours of `LIGHT`.
        name: unique within the page: all ids begin with it.
        title: what the figure is.
        description: what the figure shows, in words.
        standalone: give it a background and a stylesheet of its own, for an image in a file of its own.
    """
    figure = drawn.get_figure(root=True) if isinstance(drawn, Axes) else drawn
    assert figure is not None
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        facecolor=LIGHT["paper"] if standalone else "none",
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", buffer.getvalue())
    root = ElementTree.fromstring(text)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        if style := element.get("style"):
            element.set("style", _with_variables(style))
    for place, (tag, words) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = words
        root.insert(place, element)
    width, height = figure.get_size_inches() * POINTS
    for key, size in (("width", width), ("height", height)):
        # In a page the stylesheet decides about the size.
        root.attrib.pop(key)
        if standalone:
            root.set(key, f"{size:g}")
    if standalone:
        sheet = ElementTree.Element(f"{{{_SVG}}}style")
        sheet.text = theme()
        root.insert(2, sheet)
    root.set("class", "plot")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    return ElementTree.tostring(root, encoding="unicode")


def _with_variables(style: str) -> str:
    for variable, value in LIGHT.items():
        style = style.replace(value, f"var(--{variable})")
    return style
