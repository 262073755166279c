"""Read the files that `run`, `compare`, `bulk` and `peers` write with `--json`, and that a report writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from delegator.errors import ConfigurationError
from loadtest.report.text import clean
from loadtest.results.comparison import Comparison
from loadtest.results.costs import Costs, ProcessCost
from loadtest.results.queue_result import BulkResult
from loadtest.results.run_result import RunResult

R = TypeVar("R")

RESULTS: Final = "results"
"""Key of the file beside a page: the list of all results that the page shows."""
_LARGEST: Final = 1e15
_DEEPEST: Final = 20
_QUANTILES: Final = 101
_LONGEST: Final = 1_000_000  # seconds of a run
_MODE: Final = "mode"
"""Key that only a comparison of queues has, not one of arms."""
_RUN: Final = TypeAdapter(RunResult)
_BULK: Final = TypeAdapter(BulkResult)
_WHAT: Final = "a result that --json of `loadtest run`, `compare`, `bulk` or `peers` wrote"
_RELAY: Final = "relay"
_LOAD: Final = ("scenario", "workflows", "jobs", "concurrency", "payload_bytes")


class UnreadableError(ConfigurationError):
    """A file is not one that `loadtest` writes."""


def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read files. Each holds a run, a comparison, or several of them.

    Args:
        paths: the files.

    Returns:
        The JSON objects of the results, in order.

    Raises:
        UnreadableError: a file can't be read or holds something else.
    """
    return [result for path in paths for result in _results(path)]


def comparisons(results: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Return results as comparisons. Single runs of the same load and settings, from any file, become one comparison.

    Args:
        results: from `read`.

    Raises:
        UnreadableError: a result is not one that `loadtest` writes.
    """
    singles: dict[tuple[Any, ...], list[RunResult]] = {}
    places: list[Comparison | tuple[Any, ...]] = []
    for result in results:
        if "arms" in result:
            places.append(_comparison(result))
            continue
        run = _validated(result, _RUN)
        # Files of older versions have the load, but no settings.
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
        raise UnreadableError("arms is not an object with at least one arm")
    if not isinstance(runs, list):
        raise UnreadableError("runs is not a list")
    by_arm: dict[str, list[R]] = {name: [] for name in medians}
    for number, content in enumerate(runs):
        run = _validated(content, kind, f"runs.{number}.")
        if (name := getattr(run, key)) in by_arm:
            by_arm[name].append(run)
    # Files of older versions have medians, but no runs.
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
            raise UnreadableError(f"{where}series has a second that no run has: below 0 or above {_LONGEST}")
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


def as_comparison(
    runs: Mapping[str, Sequence[BulkResult]], rounds: int, settings: Mapping[str, Any], versions: Mapping[str, Any]
) -> Comparison:
    """Return the runs of several queues as a comparison of runs that have jobs but no workflows.

    Args:
        runs: of each queue, at least one.
        rounds: how many runs each had.
        settings: of PostgreSQL and of each queue.
        versions: of all parts.
    """
    mode = next(iter(runs.values()))[0].mode
    scenario = f"{mode}, without workflows"
    return Comparison(
        scenario,
        rounds,
        {name: [_as_run(run, scenario, settings, versions) for run in found] for name, found in runs.items()},
    )


def _as_run(run: BulkResult, scenario: str, settings: Mapping[str, Any], versions: Mapping[str, Any]) -> RunResult:
    processes = {
        name: ProcessCost(
            cpu_s=milliseconds * run.completed / 1000,
            peak_rss_bytes=(run.relay_peak_rss_bytes or 0) if name == _RELAY else 0,
        )
        for name, milliseconds in run.cpu_ms_per_job.items()
    }
    return RunResult(
        arm=run.contender,
        scenario=scenario,
        workflows=0,
        jobs=run.jobs,
        concurrency=None,
        completed=run.completed,
        failed=run.failed,
        duration_s=run.duration_s,
        workflows_per_s=0.0,
        jobs_per_s=run.jobs_per_s,
        latency_ms=None,
        history_events=None,
        payload_bytes=run.payload_bytes,
        settings={"mode": run.mode, "jobs": run.jobs, "rate": run.rate, **settings},
        versions=dict(versions),
        job_start_ms=run.job_start_ms,
        costs=Costs(None, {}, None, None, None, processes) if processes else None,
    )
