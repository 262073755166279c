"""Charts of lines: how latencies are distributed, and throughput over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from loadtest.report.colours import LIGHT
from loadtest.report.drawing import TINY, house_style, line_style, linear_axis, new_chart, svg_text
from loadtest.report.text import number, short
from loadtest.results.comparison import Comparison, median_run
from loadtest.results.run_result import RunResult

WIDTH: Final = 420.0
"""Points; the page scales a chart to the room it has."""
_HEIGHT: Final = 270.0
_MARGINS: Final = {"left": 46.0, "top": 28.0, "right": 20.0, "bottom": 44.0}
_APART: Final = 8.0  # medians that differ by a larger factor get a logarithmic axis
_PARTIAL: Final = 0.25  # a run's last second has a rate if the run lasted this much of it
_PERCENTILES: Final = {0: "min", 50: "p50", 75: "p75", 90: "p90", 95: "p95", 99: "p99", 100: "max"}
_MAXIMUM: Final = 2.35  # where the maximum stands on the axis of percentiles, on which p90 is 1 and p99 is 2

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class LineChart:
    """A chart and what it is called."""

    title: str
    """Its heading."""
    note: str
    """How to read it."""
    svg: str
    """The drawing, an SVG element."""
    arms: Sequence[str]
    """The arms that have a line, for the legend."""


def latency_chart(comparison: Comparison, colours: Mapping[str, str], name: str) -> LineChart | None:
    """Draw the latency at each percentile: a bold line for the medians of the rounds, a thin one for each round.

    Args:
        comparison: what to draw.
        colours: colour variable of each arm.
        name: unique within the page.

    Returns:
        None if no run has latencies.
    """
    medians = {arm: points for arm, runs in comparison.runs.items() if (points := _quantiles(median_run(runs)))}
    if not medians:
        return None
    rounds = {arm: _rounds(comparison.runs[arm]) for arm in medians}
    largest = max(value for arm in medians for points in (medians[arm], *rounds[arm]) for _, value in points)
    middles = [_at(points, 50) for points in medians.values()]
    logarithmic = min(middles) > 0 and max(middles) / min(middles) > _APART
    floor = _smallest(medians, rounds, largest) if logarithmic else 0.0
    with house_style():
        axes = new_chart(WIDTH, _HEIGHT, **_MARGINS)
        for arm, points in medians.items():
            for thin in rounds[arm]:
                _line(axes, thin, colours[arm], floor, linewidth=1, alpha=0.38)
            _line(axes, points, colours[arm], floor)
        axes.set_xticks([_place(percent) for percent in _PERCENTILES], list(_PERCENTILES.values()))
        axes.set_xlim(0, _MAXIMUM)
        axes.grid(axis="y")
        if logarithmic:
            _logarithmic_axis(axes, floor, largest)
        else:
            linear_axis(axes, "y")
            axes.set_ylim(0, None if largest > TINY else 1)
        axes.set_title("ms, logarithmic" if logarithmic else "ms")
        axes.set_xlabel("percentile of workflows", loc="right")
        svg = svg_text(
            axes,
            name=name,
            title=f"Latency of workflows in {comparison.scenario}",
            description="; ".join(
                f"{arm}: p50 {number(_at(points, 50))} ms, p99 {number(_at(points, 99))} ms"
                for arm, points in medians.items()
            ),
        )
    note = "Lower is better. Time from a workflow's start to its result; the axis is wide where the slow ones are."
    return LineChart("Latency distribution", note, svg, list(medians))


def throughput_chart(comparison: Comparison, colours: Mapping[str, str], name: str) -> LineChart | None:
    """Draw completions in each second, of each arm's round with the median throughput.

    Args:
        comparison: what to draw.
        colours: colour variable of each arm.
        name: unique within the page.

    Returns:
        None if no run has them.
    """
    medians = {arm: median_run(runs) for arm, runs in comparison.runs.items()}
    jobs = any(run.jobs > 1 for run in medians.values())
    rates = {arm: _rates(run, jobs) for arm, run in medians.items()}
    rates = {arm: points for arm, points in rates.items() if any(rate > TINY for _, rate in points)}
    if not rates:
        return None
    unit = "jobs" if jobs else "workflows"
    with house_style():
        axes = new_chart(WIDTH, _HEIGHT, **_MARGINS)
        for arm, points in rates.items():
            _line(axes, points, colours[arm])
        for which in ("x", "y"):
            linear_axis(axes, which)
        axes.grid(axis="y")
        axes.set_xlim(0, None)
        axes.set_ylim(0, None)
        axes.set_title(f"{unit}/s")
        axes.set_xlabel("seconds since the first start", loc="right")
        whole = {arm: medians[arm].jobs_per_s if jobs else medians[arm].workflows_per_s for arm in rates}
        svg = svg_text(
            axes,
            name=name,
            title=f"Throughput over time in {comparison.scenario}",
            description="; ".join(f"{arm}: {number(rate)} {unit}/s on average" for arm, rate in whole.items()),
        )
    note = f"Higher is better. {unit.capitalize()} completed in each second of the round with the median throughput."
    return LineChart("Throughput over time", note, svg, list(rates))


def _line(axes: Axes, points: Points, kind: str, floor: float | None = None, **style: Any) -> None:
    """Draw a line.

    Args:
        axes: the chart.
        points: across and up.
        kind: colour variable.
        floor: with one, `points` are percentiles, and no value is drawn below it.
        style: passed to matplotlib.
    """
    if floor is not None:
        points = [(_place(percent), max(value, floor)) for percent, value in points]
    across, up = zip(*points, strict=True)
    axes.plot(across, up, color=LIGHT[kind], linestyle=line_style(kind), **style)


def _logarithmic_axis(axes: Axes, smallest: float, largest: float) -> None:
    axes.set_yscale("log")
    decades = math.log10(largest / smallest)
    steps = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(smallest * 0.9, largest * 1.1)


def _smallest(medians: Mapping[str, Points], rounds: Mapping[str, Sequence[Points]], largest: float) -> float:
    positive = [value for arm in medians for points in (medians[arm], *rounds[arm]) for _, value in points if value > 0]
    return max(min(positive, default=1.0), largest * TINY, TINY)


def _place(percent: float) -> float:
    """Return where a percentile stands: the slow workflows, which matter most, get most of the axis."""
    if percent >= 100:
        return _MAXIMUM
    return min(-math.log10(1 - max(percent, 0.0) / 100), _MAXIMUM)


def _rounds(runs: Sequence[RunResult]) -> list[Points]:
    return [points for run in runs if (points := _quantiles(run))] if len(runs) > 1 else []


def _quantiles(run: RunResult) -> Points:
    if len(run.latency_quantiles_ms) > 1:
        last = len(run.latency_quantiles_ms) - 1
        return [(100 * at / last, value) for at, value in enumerate(run.latency_quantiles_ms)]
    if run.latency_ms is None:
        return []
    known = run.latency_ms
    return [(50, known.p50), (90, known.p90), (95, known.p95), (99, known.p99), (100, known.max)]


def _at(points: Points, percentile: float) -> float:
    return min(points, key=lambda point: abs(point[0] - percentile))[1]


def _rates(run: RunResult, jobs: bool) -> Points:
    """Return the rate in the middle of each second, and at both ends of the run that of its first and last second."""
    counts: dict[int, int] = {}
    for second in run.series:
        counts[second.s] = counts.get(second.s, 0) + (second.jobs if jobs else second.workflows)
    if not counts:
        return []
    first, last = min(counts), max(counts)
    points: Points = []
    for at in range(first, last + 1):
        length = run.duration_s - at if at == last and 0 < run.duration_s - at < 1 else 1.0
        if length >= _PARTIAL or at == first:
            points.append((at + length / 2, counts.get(at, 0) / length))
            end = at + length
    return [(first, points[0][1]), *points, (end, points[-1][1])]
