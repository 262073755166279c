"""What was run: how much, on which settings and versions, and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest.queues.bare import YARDSTICKS
from loadtest.queues.delegator_queue import DelegatorQueue
from loadtest.queues.load import Mode
from loadtest.report.text import clean
from loadtest.results.comparison import Comparison
from loadtest.results.run_result import RunResult
from loadtest.workload.options import OPTION_NAMES

_OPTIONS: Final = frozenset(
    {"workflows", "jobs", "concurrency", "rate", "duration", "timeout", "temporal", "statements", *OPTION_NAMES}
)


@dataclass(frozen=True, slots=True)
class Fact:
    """A setting or a version."""

    name: str
    """Its name."""
    value: str
    """The value; if the runs differ, each value and the runs that have it."""
    differs: bool
    """Whether two runs have different ones."""


def facts(runs: Mapping[str, Sequence[RunResult]], values: Callable[[RunResult], Mapping[str, Any]]) -> Sequence[Fact]:
    """Return the known settings or versions of runs.

    Args:
        runs: of each arm.
        values: finds settings or versions in a run; None is unknown.
    """
    names = dict.fromkeys(name for of_arm in runs.values() for run in of_arm for name in values(run))
    found = []
    for name in names:
        texts = {arm: [_known(values(run).get(name)) for run in of_arm] for arm, of_arm in runs.items()}
        owners: dict[str, list[str]] = {}
        for arm, of_arm in texts.items():
            for number, text in enumerate(of_arm, 1):
                if text is not None:
                    owners.setdefault(text, []).append(arm if len(set(of_arm)) == 1 else f"{arm} {number}")
        if owners:
            found.append(Fact(name, _said(owners, texts), len(owners) > 1))
    return found


def command(comparison: Comparison) -> str:
    """Return the command that repeats a comparison. Without settings in the file it has only the load."""
    run = next(iter(comparison.runs.values()))[0]
    if not run.workflows:
        return _python(_bulk_words(run, list(comparison.runs), comparison.rounds))
    settings = run.settings or {name: getattr(run, name) for name in ("workflows", "jobs", "concurrency")}
    arms = list(comparison.runs)
    if len(arms) == 1 and comparison.rounds == 1:
        words = ["run", "--arm", arms[0], "--scenario", comparison.scenario]
    else:
        words = ["compare", "--arms", ",".join(arms), "--scenario", comparison.scenario]
        words += ["--rounds", str(comparison.rounds)]
    for option, value in settings.items():
        if option not in _OPTIONS:
            continue  # the same for every run
        flag = f"--{option.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif isinstance(value, str | int | float) and value is not False:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return _python(words)


def load(comparison: Comparison) -> str:
    """Return the amount of work in a few words."""
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


def _bulk_words(run: RunResult, arms: Sequence[str], rounds: int) -> list[str]:
    """Return the command that repeats runs of queues, without the program's name.

    Args:
        run: one of the runs.
        arms: the queues.
        rounds: how many each had.
    """
    mode, rate = str(run.settings.get("mode")), run.settings.get("rate")
    rate = rate if isinstance(rate, int | float) and rate > 0 else None
    amount = ["--rate", f"{rate:g}", "--duration", f"{run.jobs / rate:g}"] if rate else ["--jobs", str(run.jobs)]
    amount += ["--payload-bytes", str(run.payload_bytes), "--rounds", str(rounds)]
    peers = [arm for arm in arms if arm not in (*YARDSTICKS, DelegatorQueue.name)]
    if peers:
        return ["peers", "--queues", ",".join(peers), "--scenarios", mode, *amount]
    words = ["bulk", *amount]
    if mode == Mode.BACKLOG:
        words.append("--backlog")
    if not set(YARDSTICKS) & set(arms) and not rate:
        words.append("--no-bare")
    return words


def _said(owners: Mapping[str, Sequence[str]], texts: Mapping[str, Sequence[str | None]]) -> str:
    if len(owners) == 1 and all(None not in of_arm for of_arm in texts.values()):
        return next(iter(owners))
    whose = "; ".join(f"{text} ({', '.join(dict.fromkeys(names))})" for text, names in owners.items())
    return f"differs: {whose}" if len(owners) > 1 else whose


def _known(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return clean(f"{value:g}" if isinstance(value, float) else str(value))
