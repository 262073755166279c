"""What the page says about each comparison."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.arms import ARMS
from loadtest.comparison import Comparison
from loadtest.options import OPTION_NAMES
from loadtest.report.page_bars import BarPlot
from loadtest.report.page_bulk import bulk_words
from loadtest.report.page_costs import cost_plots, throughput_bars
from loadtest.report.page_facts import Fact, facts
from loadtest.report.page_lines import Plot, latency_plot, throughput_plot
from loadtest.report.page_style import arm_classes
from loadtest.report.page_table import Line, counts_jobs, table
from loadtest.report.page_text import DASH, times

_YARDSTICKS: Final = frozenset(name for name, arm in ARMS.items() if not arm.runs_jobs)
_OPTIONS: Final = frozenset(
    {"workflows", "jobs", "concurrency", "rate", "duration", "timeout", "temporal", *OPTION_NAMES}
)


@dataclass(frozen=True, slots=True)
class Headline:
    """How an arm compares with the first one."""

    arm: str
    """Which."""
    kind: str
    """Its CSS class."""
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
    """What to know of the table."""
    arms: Mapping[str, str]
    """The arms and their CSS classes."""
    headlines: Sequence[Headline]
    """What matters most."""
    lines: Sequence[Line]
    """Its table."""
    plots: Sequence[Plot]
    """Its plots of lines."""
    bars: Sequence[BarPlot]
    """Its plots of bars."""
    settings: Sequence[Fact]
    """What shaped the runs."""
    versions: Sequence[Fact]
    """What they ran on."""
    command: str
    """Repeats them."""


def sections(comparisons: Sequence[Comparison]) -> list[Section]:
    """Describe comparisons."""
    return [_section(comparison, f"s{number}") for number, comparison in enumerate(comparisons, 1)]


def command(comparison: Comparison) -> str:
    """Return the command that does it again; a file that does not know its settings gives the load alone."""
    run = next(iter(comparison.runs.values()))[0]
    if not run.workflows:
        return _python(bulk_words(run, list(comparison.runs), comparison.rounds))
    settings = run.settings or {name: getattr(run, name) for name in ("workflows", "jobs", "concurrency")}
    arms = list(comparison.runs)
    if len(arms) == 1 and comparison.rounds == 1:
        words = ["run", "--arm", arms[0], "--scenario", comparison.scenario]
    else:
        words = ["compare", "--arms", ",".join(arms), "--scenario", comparison.scenario]
        words += ["--rounds", str(comparison.rounds)]
    for option, value in settings.items():
        if option not in _OPTIONS:
            continue  # what is the same for every run
        flag = f"--{option.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif isinstance(value, str | int | float) and value is not False:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return _python(words)


def load(comparison: Comparison) -> str:
    """Say how much was done, in a few words."""
    run = next(iter(comparison.runs.values()))[0]
    words = [f"{run.jobs:,} job{'s' * (run.jobs != 1)}"]
    if run.workflows:
        words[0] = f"{run.workflows:,} workflow{'s' * (run.workflows != 1)} of {words[0]}"
    if run.concurrency is not None:
        words.append(f"{run.concurrency:,} in flight")
    if isinstance(rate := run.settings.get("rate"), int | float):
        words.append(f"{rate:,g} jobs/s asked for")
    if run.payload_bytes:
        words.append(f"{run.payload_bytes:,} bytes of payload")
    for option, unit in (("sleep_ms", "ms of sleep"), ("bursts", "bursts")):
        if isinstance(value := run.settings.get(option), int | float):
            words.append(f"{value:,g} {unit}")
    if (temporal := run.settings.get("temporal")) in ("postgres", "deployed"):
        words.append("Temporal on PostgreSQL" if temporal == "postgres" else "on a deployment")
    words.append(_rounds(comparison))
    return " · ".join(words)


def _rounds(comparison: Comparison) -> str:
    if not comparison.paired:
        counts = [len(runs) for runs in comparison.runs.values()]
        return f"medians of {min(counts)} to {max(counts)} runs"
    return "one round" if comparison.rounds == 1 else f"medians of {comparison.rounds} rounds"


def _python(words: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "loadtest", *words])


def _section(comparison: Comparison, name: str) -> Section:
    arms = arm_classes(comparison.runs)
    settings = facts(comparison.runs, lambda run: run.settings)
    versions = facts(comparison.runs, lambda run: run.versions)
    latency = latency_plot(comparison, arms, f"{name}-latency")
    throughput = throughput_plot(comparison, arms, f"{name}-rate")
    bars = None if throughput else throughput_bars(comparison, arms, name)
    return Section(
        name=name,
        title=comparison.scenario,
        load=load(comparison),
        baseline=comparison.baseline,
        notes=_notes(comparison, [fact.name for fact in (*settings, *versions) if fact.differs]),
        arms=arms,
        headlines=_headlines(comparison, arms),
        lines=table(comparison),
        plots=[plot for plot in (latency, throughput) if plot is not None],
        bars=[*([bars] if bars else []), *cost_plots(comparison, arms, name)],
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


def _notes(comparison: Comparison, differing: Sequence[str]) -> list[str]:
    found = [f"Ratios are to {comparison.baseline}."]
    if not comparison.paired:
        found.append("The arms had unequal numbers of runs: where they did, a ratio is that of the medians.")
    if "floor" in comparison.runs:
        found.append(
            "The floor is a workflow that does nothing; its costs are shared out to the jobs that the others had."
        )
    if differing:
        found.append(f"The runs differ in {', '.join(differing)}: see below which.")
    return found
