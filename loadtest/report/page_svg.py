"""SVG elements: escaped by construction, since none of them is made of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from loadtest.report.page_scale import Linear, Scale
from loadtest.report.page_text import clean, short


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a drawing, in its units; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def x(self, share: float) -> float:
        """Return the place at a share of the width."""
        return self.left + (self.right - self.left) * share

    def y(self, share: float) -> float:
        """Return the place at a share of the height, from the bottom."""
        return self.bottom - (self.bottom - self.top) * share


def element(tag: str, text: str | None = None, **attributes: str | float | None) -> Element:
    """Make an element.

    Args:
        tag: its name.
        text: its content.
        attributes: `_` stands for `-`, a last one is dropped (`class_`); None is left out.
    """
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            shown = clean(value) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
            made.set(name.rstrip("_").replace("_", "-"), shown)
    made.text = None if text is None else clean(text)
    return made


def drawing(
    width: float, height: float, *, name: str, title: str, description: str, style: str | None = None
) -> Element:
    """Make an SVG image that says what it shows to those who can't see it.

    Args:
        width: of its own units; it is scaled to the room it gets.
        height: the same.
        name: unique within the page.
        title: what it is.
        description: what it shows, in words.
        style: a stylesheet of its own, for an image that stands alone.
    """
    root = element(
        "svg",
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-description",
        class_="plot",
    )
    root.append(element("title", title, id=f"{name}-title"))
    root.append(element("desc", description, id=f"{name}-description"))
    if style is not None:
        root.set("xmlns", "http://www.w3.org/2000/svg")
        root.set("width", f"{width:g}")
        root.set("height", f"{height:g}")
        sheet = element("style")
        sheet.text = style
        root.append(sheet)
        root.append(element("rect", class_="paper", width=width, height=height, rx=8))
    return root


def label(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "label") -> Element:
    """Make a text.

    Args:
        x: where its anchor is.
        y: its base line.
        text: what it says.
        anchor: `start`, `middle` or `end`.
        kind: CSS class.
    """
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=kind)


def line(points: Sequence[tuple[float, float]], kind: str) -> Element:
    """Make a line through points.

    Args:
        points: x and y.
        kind: CSS classes.
    """
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=kind)


def axes(box: Box, across: Scale, up: Scale, *, across_title: str, up_title: str) -> Element:
    """Draw the axes of a plot, with their titles, and lines at the marks.

    Args:
        box: the plot's own area.
        across: the horizontal axis.
        up: the vertical axis.
        across_title: what it shows and its unit.
        up_title: the same; it stands above the axis, so that nobody has to tilt the head.
    """
    group = element("g", class_="axes")
    for tick in up.ticks:
        y = box.y(up.place(tick.value))
        group.append(element("line", x1=box.left, x2=box.right, y1=y, y2=y, class_="grid"))
        group.append(label(box.left - 6, y + 4, tick.label or short(tick.value), anchor="end", kind="tick"))
    for tick in across.ticks:
        x = box.x(across.place(tick.value))
        group.append(element("line", x1=x, x2=x, y1=box.bottom, y2=box.bottom + 4, class_="axis"))
        group.append(label(x, box.bottom + 17, tick.label or short(tick.value), anchor="middle", kind="tick"))
    group.append(element("line", x1=box.left, x2=box.right, y1=box.bottom, y2=box.bottom, class_="axis"))
    group.append(label(2, box.top - 12, up_title, kind="axis-title"))
    group.append(label(box.right, box.bottom + 34, across_title, anchor="end", kind="axis-title"))
    return group


def across_axis(box: Box, scale: Linear, title: str) -> Element:
    """Draw a horizontal axis alone, with lines at the marks as high as the box.

    Args:
        box: the plot's own area.
        scale: the axis.
        title: what it shows and its unit.
    """
    group = element("g", class_="axes")
    for tick in scale.ticks:
        x = box.x(scale.place(tick.value))
        group.append(element("line", x1=x, x2=x, y1=box.top, y2=box.bottom, class_="grid"))
        group.append(label(x, box.bottom + 15, short(tick.value), anchor="middle", kind="tick"))
    group.append(label(box.right, box.bottom + 32, title, anchor="end", kind="axis-title"))
    return group


def text_of(root: Element) -> str:
    """Return an SVG image as text."""
    return ElementTree.tostring(root, encoding="unicode")
