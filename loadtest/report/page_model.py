"""What the files hold that the `--json` of `run`, `compare`, `bulk` and `peers` and this report write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from delegator.errors import ConfigurationError
from loadtest.bulk.results import BulkResult
from loadtest.comparison import Comparison
from loadtest.measure import RunResult
from loadtest.report.page_bulk import as_comparison
from loadtest.report.page_text import clean

R = TypeVar("R")

RESULTS: Final = "results"
"""The key of the file beside a page: a list of what the files held."""
_LARGEST: Final = 1e15
_DEEPEST: Final = 20
_QUANTILES: Final = 101
_LONGEST: Final = 1_000_000  # seconds
_MODE: Final = "mode"
"""The key that tells a comparison of queues from one of arms."""
_RUN: Final = TypeAdapter(RunResult)
_BULK: Final = TypeAdapter(BulkResult)
_WHAT: Final = "a result that --json of `loadtest run`, `compare`, `bulk` or `peers` wrote"
_LOAD: Final = ("scenario", "workflows", "jobs", "concurrency", "payload_bytes")


class UnreadableError(ConfigurationError):
    """A file is not what `loadtest` writes."""


def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read files: each holds a run, a comparison, or the results of several.

    Args:
        paths: the files.

    Returns:
        The JSON objects of the results, in order.

    Raises:
        UnreadableError: a file can't be read or holds something else.
    """
    return [result for path in paths for result in _results(path)]


def comparisons(results: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Understand results; single runs of the same load and settings, whatever file they are in, become one comparison.

    Args:
        results: from `read`.

    Raises:
        UnreadableError: one is not what `loadtest` writes.
    """
    singles: dict[tuple[Any, ...], list[RunResult]] = {}
    places: list[Comparison | tuple[Any, ...]] = []
    for result in results:
        if "arms" in result:
            places.append(_comparison(result))
            continue
        run = _validated(result, _RUN)
        # Files of before the settings were kept have the load alone.
        load = (*(getattr(run, name) for name in _LOAD), json.dumps(run.settings, sort_keys=True))
        if load not in singles:
            places.append(load)
        singles.setdefault(load, []).append(run)
    return [place if isinstance(place, Comparison) else _of_runs(singles[place]) for place in places]


def _results(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_number)
    except OSError as error:
        raise UnreadableError(f"can't read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UnreadableError(f"{path} is not JSON: is it a file that --json wrote?") from None
    results = _list(content)
    if not results or not all(isinstance(result, dict) for result in results):
        raise UnreadableError(f"{path} does not hold {_WHAT}")
    try:
        cleaned = [_clean(result) for result in results]
        comparisons(cleaned)
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from None
    return cleaned


def _list(content: Any) -> list[Any]:
    if not isinstance(content, dict):
        return content if isinstance(content, list) else []
    if isinstance(found := content.get(RESULTS), list):
        return found
    if "arms" not in content and content and all(isinstance(part, dict) and _MODE in part for part in content.values()):
        return list(content.values())
    return [content]


def _comparison(result: Mapping[str, Any]) -> Comparison:
    scenario, rounds = result.get("scenario"), result.get("rounds", 1)
    if not isinstance(rounds, int) or rounds < 1:
        raise UnreadableError("rounds is not a number above 0")
    if _MODE in result:
        runs = _runs(result, _BULK, "contender")
        settings, versions = result.get("settings"), result.get("versions")
        return as_comparison(
            runs,
            rounds,
            settings if isinstance(settings, dict) else {},
            versions if isinstance(versions, dict) else {},
        )
    if not isinstance(scenario, str):
        raise UnreadableError("scenario is not a text")
    return Comparison(scenario, rounds, _runs(result, _RUN, "arm"))


def _runs(result: Mapping[str, Any], kind: TypeAdapter[R], key: str) -> dict[str, list[R]]:
    medians, runs = result["arms"], result.get("runs", [])
    if not isinstance(medians, dict) or not medians:
        raise UnreadableError("arms is not an object that names at least one")
    if not isinstance(runs, list):
        raise UnreadableError("runs is not a list")
    by_arm: dict[str, list[R]] = {name: [] for name in medians}
    for number, content in enumerate(runs):
        run = _validated(content, kind, f"runs.{number}.")
        if (name := getattr(run, key)) in by_arm:
            by_arm[name].append(run)
    # Files of before the runs were kept have the medians alone.
    return {name: found or [_validated(medians[name], kind, f"arms.{name}.")] for name, found in by_arm.items()}


def _of_runs(runs: Sequence[RunResult]) -> Comparison:
    by_arm: dict[str, list[RunResult]] = {}
    for run in runs:
        by_arm.setdefault(run.arm, []).append(run)
    return Comparison(runs[0].scenario, max(map(len, by_arm.values())), by_arm)


def _validated(content: Any, kind: TypeAdapter[R], where: str = "") -> R:
    try:
        found = kind.validate_python(content)
    except ValidationError as errors:
        error = errors.errors(include_url=False, include_input=False)[0]
        place = where + ".".join(map(str, error["loc"]))
        reason = f"{place or 'the result'}: {error['msg'][:1].lower()}{error['msg'][1:]}"
        raise UnreadableError(f"{reason}; is it {_WHAT}?") from None
    if isinstance(found, RunResult):
        if len(found.latency_quantiles_ms) not in (0, _QUANTILES):
            raise UnreadableError(f"{where}latency_quantiles_ms has not {_QUANTILES} values")
        if any(not 0 <= second.s <= _LONGEST for second in found.series):
            raise UnreadableError(f"{where}series has a second that no run has: it is below 0 or above {_LONGEST}")
    return found


def _clean(content: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise UnreadableError("it is nested too deeply for a result")
    if isinstance(content, str):
        return clean(content)
    if isinstance(content, list):
        return [_clean(item, depth + 1) for item in content]
    if isinstance(content, dict):
        return {clean(key): _clean(value, depth + 1) for key, value in content.items()}
    if isinstance(content, int | float) and abs(content) > _LARGEST:
        raise UnreadableError(f"a number is larger than {_LARGEST:g}")
    return content


def _number(text: str) -> float:
    value = float(text)
    return value if abs(value) <= _LARGEST else _refuse(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
