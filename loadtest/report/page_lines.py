"""Plots of lines: how latencies are distributed, how throughput went over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from loadtest.comparison import Comparison, median_run
from loadtest.measure import RunResult
from loadtest.report.page_scale import Linear, Logarithmic, Percentiles, Scale
from loadtest.report.page_svg import Box, axes, drawing, line
from loadtest.report.page_text import number

WIDTH: Final = 420.0
_HEIGHT: Final = 270.0
_BOX: Final = Box(left=46, top=30, right=WIDTH - 20, bottom=_HEIGHT - 42)
_APART: Final = 8.0  # medians that differ by more share a logarithmic axis
_PARTIAL: Final = 0.25  # of its last second a run must have lasted so much for a rate

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing and what it is called."""

    title: str
    """Its heading."""
    note: str
    """How to read it."""
    svg: Element
    """The drawing."""
    arms: Sequence[str]
    """The arms that have a line, for the legend."""


def latency_plot(comparison: Comparison, classes: Mapping[str, str], name: str) -> Plot | None:
    """Draw the latency at each percentile, a bold line for the medians of the rounds and a thin one for each round.

    Args:
        comparison: what is drawn.
        classes: CSS class of each arm.
        name: of the drawing, unique within the page.

    Returns:
        None when no run has latencies.
    """
    medians = {arm: _quantiles(median_run(runs)) for arm, runs in comparison.runs.items()}
    medians = {arm: points for arm, points in medians.items() if points}
    if not medians:
        return None
    lines = [(arm, points, False) for arm in medians for points in _rounds(comparison.runs[arm])]
    lines += [(arm, points, True) for arm, points in medians.items()]
    largest = max(value for _, points, _ in lines for _, value in points)
    smallest = min((value for _, points, _ in lines for _, value in points if value > 0), default=1.0)
    middles = [_at(points, 50) for points in medians.values()]
    logarithmic = min(middles) > 0 and max(middles) / min(middles) > _APART
    up: Scale = Logarithmic(smallest, largest) if logarithmic else Linear(largest)
    across = Percentiles()
    svg = drawing(
        WIDTH,
        _HEIGHT,
        name=name,
        title=f"Latency of workflows in {comparison.scenario}",
        description="; ".join(
            f"{arm}: p50 {number(_at(points, 50))} ms, p99 {number(_at(points, 99))} ms"
            for arm, points in medians.items()
        ),
    )
    up_title = "ms, logarithmic" if logarithmic else "ms"
    svg.append(axes(_BOX, across, up, across_title="percentile of workflows", up_title=up_title))
    for arm, points, bold in lines:
        places = [(_BOX.x(across.place(at)), _BOX.y(up.place(value))) for at, value in points]
        svg.append(line(places, f"line {classes[arm]}{'' if bold else ' thin'}"))
    note = "Lower is better. A workflow's time from its start to its result; the axis gives the slow ones room."
    return Plot("Latency distribution", note, svg, list(medians))


def throughput_plot(comparison: Comparison, classes: Mapping[str, str], name: str) -> Plot | None:
    """Draw completions in each second, of each arm's round of median throughput.

    Args:
        comparison: what is drawn.
        classes: CSS class of each arm.
        name: of the drawing, unique within the page.

    Returns:
        None when no run has them.
    """
    medians = {arm: median_run(runs) for arm, runs in comparison.runs.items()}
    jobs = any(run.jobs > 1 for run in medians.values())
    rates = {arm: _rates(run, jobs) for arm, run in medians.items()}
    rates = {arm: points for arm, points in rates.items() if any(rate for _, rate in points)}
    if not rates:
        return None
    unit = "jobs" if jobs else "workflows"
    across = Linear(max(at for points in rates.values() for at, _ in points))
    up = Linear(max(rate for points in rates.values() for _, rate in points))
    svg = drawing(
        WIDTH,
        _HEIGHT,
        name=name,
        title=f"Throughput over time in {comparison.scenario}",
        description="; ".join(
            f"{arm}: {number(medians[arm].jobs_per_s if jobs else medians[arm].workflows_per_s)} {unit}/s on the whole"
            for arm in rates
        ),
    )
    svg.append(axes(_BOX, across, up, across_title="seconds since the first start", up_title=f"{unit}/s"))
    for arm, points in rates.items():
        places = [(_BOX.x(across.place(at)), _BOX.y(up.place(rate))) for at, rate in points]
        svg.append(line(places, f"line {classes[arm]}"))
    note = f"Higher is better. {unit.capitalize()} completed in each second of the round with the median throughput."
    return Plot("Throughput over time", note, svg, list(rates))


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
    """Return the rate in each second, at its middle; at the ends of the run those of its first and last second."""
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
