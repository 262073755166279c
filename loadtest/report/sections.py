"""The sections of the page, one for each comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.arms import ARMS
from loadtest.report.bar_charts import BarChart, cost_charts, throughput_bars
from loadtest.report.colours import arm_colours
from loadtest.report.line_charts import LineChart, latency_chart, throughput_chart
from loadtest.report.measures import Row, counts_jobs, table
from loadtest.report.notes import table_notes
from loadtest.report.statements import Statements, statements
from loadtest.report.text import DASH, times
from loadtest.report.what_ran import Fact, command, facts, load
from loadtest.results.comparison import Comparison

_YARDSTICKS: Final = frozenset(name for name, arm in ARMS.items() if not arm.runs_jobs)


@dataclass(frozen=True, slots=True)
class Headline:
    """How an arm compares with the first one."""

    arm: str
    """The arm."""
    kind: str
    """Its colour variable."""
    facts: Sequence[tuple[str, str]]
    """What is compared, and the ratio."""


@dataclass(frozen=True, slots=True)
class Section:
    """One comparison."""

    name: str
    """Its id in the page."""
    title: str
    """Its heading."""
    load: str
    """How much was done."""
    baseline: str
    """The arm of the ratios."""
    notes: Sequence[str]
    """Notes about the table."""
    arms: Mapping[str, str]
    """The arms and their colour variables."""
    headlines: Sequence[Headline]
    """The most important ratios."""
    rows: Sequence[Row]
    """Its table."""
    line_charts: Sequence[LineChart]
    """Its charts of lines."""
    bar_charts: Sequence[BarChart]
    """Its charts of bars."""
    statements: Sequence[Statements]
    """Its tables of SQL statements."""
    settings: Sequence[Fact]
    """Settings of the runs."""
    versions: Sequence[Fact]
    """Versions and machine."""
    command: str
    """The command that repeats the runs."""


def sections(comparisons: Sequence[Comparison]) -> list[Section]:
    """Describe comparisons."""
    return [_section(comparison, f"s{number}") for number, comparison in enumerate(comparisons, 1)]


def _section(comparison: Comparison, name: str) -> Section:
    arms = arm_colours(comparison.runs)
    settings = facts(comparison.runs, lambda run: run.settings)
    versions = facts(comparison.runs, lambda run: run.versions)
    latency = latency_chart(comparison, arms, f"{name}-latency")
    throughput = throughput_chart(comparison, arms, f"{name}-rate")
    whole = None if throughput else throughput_bars(comparison, arms, name)
    return Section(
        name=name,
        title=comparison.scenario,
        load=load(comparison),
        baseline=comparison.baseline,
        notes=table_notes(comparison, [fact.name for fact in (*settings, *versions) if fact.differs]),
        arms=arms,
        headlines=_headlines(comparison, arms),
        rows=table(comparison),
        line_charts=[chart for chart in (latency, throughput) if chart is not None],
        bar_charts=[*([whole] if whole else []), *cost_charts(comparison, arms, name)],
        statements=statements(comparison),
        settings=settings,
        versions=versions,
        command=command(comparison),
    )


def _headlines(comparison: Comparison, arms: Mapping[str, str]) -> list[Headline]:
    found = []
    jobs = counts_jobs(comparison)
    for arm in comparison.runs:
        if arm == comparison.baseline or arm in _YARDSTICKS:
            continue
        ratio = comparison.ratio(arm, comparison.baseline)
        rate = ratio.jobs_per_s if jobs else ratio.workflows_per_s
        facts = (
            ("throughput", times(rate or ratio.workflows_per_s or ratio.jobs_per_s)),
            ("p50", times(ratio.latency_p50)),
            ("p99", times(ratio.latency_p99)),
        )
        if shown := [(what, value) for what, value in facts if value != DASH]:
            found.append(Headline(arm, arms[arm], shown))
    return found
