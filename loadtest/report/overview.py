"""One chart of all comparisons, as an SVG image in a file of its own: for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from loadtest.report.colours import LIGHT, arm_colours
from loadtest.report.drawing import TINY, house_style, new_figure, svg_text
from loadtest.report.measures import counts_jobs
from loadtest.report.text import number, shortened, times
from loadtest.report.what_ran import load
from loadtest.results.comparison import Comparison, median_run
from loadtest.results.run_result import RunResult

_WIDTH: Final = 880.0  # points
_HEAD: Final = 74.0  # points of each comparison
_ROW: Final = 24.0  # points of each arm
_NAMES: Final = 0.17  # of the width
_BARS: Final = 0.52  # of a column; the numbers have the rest
_LONGEST_NAME: Final = 16
_LONGEST_LOAD: Final = 110
_MOST_COLUMNS: Final = 3
_DIGIT: Final = 8.2  # points, of a bold one


@dataclass(frozen=True, slots=True)
class _Column:
    title: Callable[[bool], str]
    value: Callable[[RunResult, bool], float | None]
    compared: Callable[[RunResult], bool] = lambda run: True


def overview(comparisons: Sequence[Comparison]) -> str:
    """Draw throughput, latency and persistence operations of every arm, with the ratios to the first one.

    Args:
        comparisons: each gets a block of bars.
    """
    known = [column for column in _COLUMNS if any(_has(comparison, column) for comparison in comparisons)]
    columns = known[:_MOST_COLUMNS]
    heights = [_HEAD + _ROW * len(comparison.runs) for comparison in comparisons]
    with house_style():
        figure = new_figure(_WIDTH, sum(heights))
        blocks = figure.subfigures(len(comparisons), 1, height_ratios=heights, squeeze=False)[:, 0]
        for block, comparison, height in zip(blocks, comparisons, heights, strict=True):
            _block(block, comparison, columns, height)
        return (
            svg_text(
                figure,
                name="loadtest",
                title="Load test: " + ", ".join(comparison.scenario for comparison in comparisons),
                description=" ".join(_said(comparison) for comparison in comparisons),
                standalone=True,
            )
            + "\n"
        )


def _block(block: SubFigure, comparison: Comparison, columns: Sequence[_Column], height: float) -> None:
    colours = arm_colours(comparison.runs)
    margin = 24 / _WIDTH
    block.text(margin, 1 - 24 / height, shortened(comparison.scenario, 30), fontsize=15, fontweight="bold")
    beside = margin + (9.5 * min(len(comparison.scenario), 30) + 12) / _WIDTH
    words = shortened(load(comparison), _LONGEST_LOAD)
    block.text(beside, 1 - 24 / height, words, fontsize=12, color=LIGHT["soft"])
    width = (1 - _NAMES - margin) / max(len(columns), 2)
    bottom, top = 12 / height, _ROW * len(comparison.runs) / height
    for at, column in enumerate(columns):
        axes = block.add_axes((_NAMES + width * at, bottom, width, top))
        axes.set_axis_off()
        axes.set_ylim(len(comparison.runs), 0)
        title = column.title(counts_jobs(comparison))
        axes.text(0, 1 + 9 / (top * height), title, transform=axes.transAxes, fontsize=12, color=LIGHT["soft"])
        _bars(axes, comparison, column, colours)
        if at == 0:
            for row, arm in enumerate(comparison.runs):
                left, across = (margin - _NAMES) / width, axes.get_yaxis_transform()
                name = shortened(arm, _LONGEST_NAME)
                axes.text(left, row + 0.5, name, transform=across, fontsize=13, va="center_baseline")


def _bars(axes: Axes, comparison: Comparison, column: _Column, colours: dict[str, str]) -> None:
    several = counts_jobs(comparison)
    rounds = {
        arm: [value for run in runs if (value := column.value(run, several)) is not None]
        for arm, runs in comparison.runs.items()
    }
    medians = {arm: column.value(median_run(runs), several) for arm, runs in comparison.runs.items()}
    longest = max((value for values in rounds.values() for value in values), default=0.0)
    unit = _BARS / longest if longest > TINY else 0.0  # the lengths of bars are shares of the column
    axes.set_xlim(0, 1)
    for row, (arm, median) in enumerate(medians.items()):
        middle = row + 0.5
        if median is None:
            axes.text(0, middle, "-", fontsize=12, color=LIGHT["soft"], va="center")
            continue
        axes.barh(middle, max(median * unit, 0.004), 0.55, color=LIGHT[colours[arm]])
        least, most = min(rounds[arm]) * unit, max(rounds[arm]) * unit
        if most - least > 0.01:
            for colour, thickness in (("paper", 4.0), ("ink", 1.4)):
                axes.plot((least, most), (middle, middle), color=LIGHT[colour], linewidth=thickness)
        end = max(median * unit, most)
        shown = number(median)
        _beside(axes, end, middle, 7, shown, fontsize=13, fontweight="bold")
        if arm == comparison.baseline:
            continue
        ratio = comparison.ratio_of(
            lambda run: column.value(run, several) if column.compared(run) else None, arm, comparison.baseline
        )
        if ratio is not None:
            _beside(axes, end, middle, 14 + _DIGIT * len(shown), times(ratio), fontsize=12, color=LIGHT["soft"])


def _beside(axes: Axes, end: float, middle: float, points: float, words: str, **style: Any) -> None:
    axes.annotate(words, (end, middle), xytext=(points, 0), textcoords="offset points", va="center_baseline", **style)


def _has(comparison: Comparison, column: _Column) -> bool:
    several = counts_jobs(comparison)
    return any(column.value(median_run(runs), several) is not None for runs in comparison.runs.values())


def _said(comparison: Comparison) -> str:
    several = counts_jobs(comparison)
    parts = [
        f"{arm} {number(_rate(median_run(runs), several))} {_unit(several)}" for arm, runs in comparison.runs.items()
    ]
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
