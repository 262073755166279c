"""Plots of stacked bars: what a job costs, by component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from loadtest.report.page_lines import WIDTH
from loadtest.report.page_scale import Linear
from loadtest.report.page_svg import Box, across_axis, drawing, element, label
from loadtest.report.page_text import number, shortened

_ROW: Final = 42.0
_BAR: Final = 14.0
_TOP: Final = 8.0
_FOOT: Final = 44.0
_LEFT: Final = 8.0
_LONGEST_NAME: Final = 32


@dataclass(frozen=True, slots=True)
class Bar:
    """One arm's bar."""

    arm: str
    """Whose it is."""
    parts: Mapping[str, float]
    """Its parts, in order, by component."""

    @property
    def total(self) -> float:
        """The whole bar."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class BarPlot:
    """A drawing, its legend and its numbers."""

    title: str
    """Its heading."""
    note: str
    """How to read it."""
    unit: str
    """What the numbers are in."""
    svg: Element
    """The drawing."""
    legend: Mapping[str, str]
    """CSS class of each component; empty: the bars have no parts."""
    bars: Sequence[Bar]
    """The numbers."""


def bar_plot(
    bars: Sequence[Bar],
    *,
    name: str,
    title: str,
    note: str,
    unit: str,
    legend: Mapping[str, str],
    arms: Mapping[str, str],
) -> BarPlot | None:
    """Draw a bar for each arm, its name and total above it.

    Args:
        bars: what to draw.
        name: of the drawing, unique within the page.
        title: its heading.
        note: how to read it.
        unit: what the numbers are in.
        legend: CSS class of each component; empty: each bar is one part, in its arm's colour.
        arms: CSS class of each arm.

    Returns:
        None when there is nothing to draw.
    """
    if not any(bar.total > 0 for bar in bars):
        return None
    height = _TOP + _ROW * len(bars) + _FOOT
    box = Box(left=_LEFT, top=_TOP, right=WIDTH - 22, bottom=height - _FOOT)
    legend = {part: kind for part, kind in legend.items() if any(part in bar.parts for bar in bars)}
    scale = Linear(max(bar.total for bar in bars))
    svg = drawing(
        WIDTH,
        height,
        name=name,
        title=title,
        description="; ".join(f"{bar.arm}: {number(bar.total)} {unit}" for bar in bars),
    )
    svg.append(across_axis(box, scale, unit))
    for row, bar in enumerate(bars):
        top = box.top + _ROW * row
        svg.append(label(box.left, top + 14, shortened(bar.arm, _LONGEST_NAME), kind="label"))
        svg.append(label(box.right, top + 14, number(bar.total), anchor="end", kind="value"))
        at = 0.0
        for component, value in bar.parts.items():
            begin, end = box.x(scale.place(at)), box.x(scale.place(at + value))
            at += value
            kind = legend.get(component) or arms[bar.arm]
            part = element("rect", x=begin, y=top + 20, width=end - begin, height=_BAR, class_=f"bar {kind}")
            said = f"{bar.arm}, {component}" if legend else bar.arm
            part.append(element("title", f"{said}: {number(value)} {unit}"))
            svg.append(part)
    return BarPlot(title, note, unit, svg, legend, bars)
