"""Several queues on the same load, in turn, round after round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from delegator.cli.version import DISTRIBUTION
from loadtest.bulk.database import server_settings
from loadtest.bulk.load import BulkLoad
from loadtest.bulk.results import BulkComparison, BulkResult, median_result
from loadtest.progress import Progress
from loadtest.versions import local_versions, package_version

Run = Callable[[BulkLoad, Callable[[int], None]], Awaitable[BulkResult]]
"""Runs a load once; told whom to tell of progress."""


async def compare(
    arms: Mapping[str, Run],
    load: BulkLoad,
    rounds: int,
    progress: Progress,
    *,
    url: str,
    settings: Mapping[str, Any],
    packages: tuple[str, ...] = (),
) -> BulkComparison:
    """Run the arms in turn and take the medians.

    Args:
        arms: what to run, by name.
        load: what each runs.
        rounds: how often.
        progress: told how it goes.
        url: of a database of the server, which is asked for its settings.
        settings: what else shaped the runs.
        packages: Python packages whose versions matter, besides the usual ones.

    Raises:
        DelegatorError: as for `run_contender`.
    """
    safety, postgres = await server_settings(url)
    runs: list[BulkResult] = []
    for number in range(rounds):
        # Each round begins with another arm: what a run leaves behind must not always hit the same one.
        shift = number % len(arms)
        names = list(arms)
        for name in [*names[shift:], *names[:shift]]:
            progress.begin(f"{name} · {load.mode}", load.jobs)
            result = await arms[name](load, progress.advance)
            if result.failed:
                progress.complain(
                    f"{name}: {result.failed} of {result.jobs} jobs did not run exactly once, or are left"
                )
            runs.append(result)
    return BulkComparison(
        mode=load.mode,
        rounds=rounds,
        arms={name: median_result([run for run in runs if run.contender == name]) for name in arms},
        runs=runs,
        settings={"postgres": safety, **settings},
        versions={
            **await asyncio.to_thread(local_versions),
            **{package: package_version(package) for package in (DISTRIBUTION, *packages)},
            "postgres": postgres,
        },
    )
