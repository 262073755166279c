"""One plot of all comparisons, an SVG image that stands alone: for a README."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from loadtest.comparison import Comparison, median_run
from loadtest.measure import RunResult
from loadtest.report.page_scale import Linear
from loadtest.report.page_sections import load
from loadtest.report.page_style import arm_classes, stylesheet
from loadtest.report.page_svg import Box, drawing, element, label, line, text_of
from loadtest.report.page_table import counts_jobs
from loadtest.report.page_text import number, shortened, times

_MARGIN: Final = 24.0
_NAMES: Final = 126.0
_COLUMN: Final = 236.0
_BARS: Final = 118.0  # of a column; the rest is the number's
_HEAD: Final = 62.0
_ROW: Final = 24.0
_BAR: Final = 13.0
_GAP: Final = 26.0
_LONGEST_NAME: Final = 16
_LETTER: Final = 6.8  # about the width of one in a note
_MOST_COLUMNS: Final = 3
_SHORTEST_WHISKER: Final = 3.0


@dataclass(frozen=True, slots=True)
class _Column:
    title: Callable[[bool], str]
    value: Callable[[RunResult, bool], float | None]
    compared: Callable[[RunResult], bool] = lambda run: True


def plot(comparisons: Sequence[Comparison]) -> str:
    """Draw throughput, latency and persistence operations of every arm, with the ratios to the first one.

    Args:
        comparisons: a block of bars each.
    """
    known = [
        column
        for column in _COLUMNS
        if any(
            column.value(median_run(runs), counts_jobs(comparison)) is not None
            for comparison in comparisons
            for runs in comparison.runs.values()
        )
    ]
    columns = known[:_MOST_COLUMNS]
    width = 2 * _MARGIN + _NAMES + _COLUMN * max(len(columns), 2)
    heights = [_HEAD + _ROW * len(comparison.runs) for comparison in comparisons]
    height = sum(heights) + _GAP * (len(heights) - 1) + 1.5 * _MARGIN
    svg = drawing(
        width,
        height,
        name="loadtest",
        title="Load test: " + ", ".join(comparison.scenario for comparison in comparisons),
        description=" ".join(_said(comparison) for comparison in comparisons),
        style=stylesheet("plot.css"),
    )
    top = _MARGIN / 2
    for comparison, size in zip(comparisons, heights, strict=True):
        svg.append(_block(comparison, columns, top, width))
        top += size + _GAP
    return text_of(svg) + "\n"


def _block(comparison: Comparison, columns: Sequence[_Column], top: float, width: float) -> Element:
    group = element("g")
    classes = arm_classes(comparison.runs)
    group.append(label(_MARGIN, top + 20, shortened(comparison.scenario, 30), kind="head"))
    beside = _MARGIN + 9.5 * min(len(comparison.scenario), 30) + 12
    room = int((width - _MARGIN - beside) / _LETTER)
    group.append(label(beside, top + 20, shortened(load(comparison), room), kind="note"))
    for row, arm in enumerate(comparison.runs):
        y = top + _HEAD + _ROW * row
        group.append(label(_MARGIN, y + _BAR - 1, shortened(arm, _LONGEST_NAME)))
    for at, column in enumerate(columns):
        left = _MARGIN + _NAMES + _COLUMN * at
        group.append(label(left, top + 48, column.title(counts_jobs(comparison)), kind="note"))
        box = Box(left=left, top=top + _HEAD, right=left + _BARS, bottom=top + _HEAD + _ROW * len(comparison.runs))
        _bars(group, comparison, column, box, classes)
    return group


def _bars(group: Element, comparison: Comparison, column: _Column, box: Box, classes: dict[str, str]) -> None:
    several = counts_jobs(comparison)
    rounds = {
        arm: [value for run in runs if (value := column.value(run, several)) is not None]
        for arm, runs in comparison.runs.items()
    }
    medians = {arm: column.value(median_run(runs), several) for arm, runs in comparison.runs.items()}
    scale = Linear(max((value for values in rounds.values() for value in values), default=0.0))
    longest = max(scale.place(value) for value in (0.0, *(value for values in rounds.values() for value in values)))
    for row, (arm, median) in enumerate(medians.items()):
        y = box.top + _ROW * row
        if median is None:
            group.append(label(box.left, y + _BAR - 1, "-", kind="note"))
            continue
        stretch = 1 / longest if longest else 1.0
        end = box.x(scale.place(median) * stretch)
        group.append(
            element("rect", x=box.left, y=y, width=max(end - box.left, 1), height=_BAR, class_=f"bar {classes[arm]}")
        )
        if len(rounds[arm]) > 1:
            least, most = (box.x(scale.place(pick(rounds[arm])) * stretch) for pick in (min, max))
            end = max(end, most)
            spread = [(least, y + _BAR / 2), (most, y + _BAR / 2)]
            if most - least > _SHORTEST_WHISKER:
                group.extend((line(spread, "line whisker-edge"), line(spread, "line whisker")))
        group.append(label(end + 7, y + _BAR - 1.5, number(median), kind="value"))
        if arm == comparison.baseline:
            continue
        ratio = comparison.ratio_of(
            lambda run: column.value(run, several) if column.compared(run) else None, arm, comparison.baseline
        )
        if ratio is not None:
            aside = end + 7 + 7.8 * len(number(median)) + 6
            group.append(label(aside, y + _BAR - 1.5, times(ratio), kind="note"))


def _said(comparison: Comparison) -> str:
    parts = []
    for arm, runs in comparison.runs.items():
        rate = _rate(median_run(runs), counts_jobs(comparison))
        parts.append(f"{arm} {number(rate)} {_unit(counts_jobs(comparison))}")
    return f"{comparison.scenario}: {', '.join(parts)}."


def _unit(several: bool) -> str:
    return "jobs/s" if several else "workflows/s"


def _rate(run: RunResult, several: bool) -> float | None:
    return (run.jobs_per_s if several else run.workflows_per_s) or None


def _persistence(run: RunResult, several: bool) -> float | None:
    costs = run.costs_per_job
    return costs.persistence_operations if costs else None


_COLUMNS: Final = (
    _Column(_unit, _rate),
    _Column(lambda several: "latency p50, ms", lambda run, several: run.latency_ms.p50 if run.latency_ms else None),
    _Column(lambda several: "Temporal persistence operations/job", _persistence),
    _Column(
        lambda several: "enqueue to start p50, ms",
        lambda run, several: run.job_start_ms.p50 if run.job_start_ms else None,
        compared=lambda run: not run.workflows,  # the clocks of arms start at different moments
    ),
)
