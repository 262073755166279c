"""What shaped the runs and what they ran on: once where they agree, else whose is what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.measure import RunResult
from loadtest.report.page_text import clean


@dataclass(frozen=True, slots=True)
class Fact:
    """A setting or a version."""

    name: str
    """Its name."""
    value: str
    """What it is; where not all runs have the same, of which."""
    differs: bool
    """Whether two runs have different ones."""


def facts(runs: Mapping[str, Sequence[RunResult]], values: Callable[[RunResult], Mapping[str, Any]]) -> Sequence[Fact]:
    """Gather what is known of the runs.

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
