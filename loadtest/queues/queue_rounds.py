"""Run several queues in turn on the same load, round after round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from delegator.cli.version import DISTRIBUTION
from loadtest.progress import Progress
from loadtest.queues.load import BulkLoad
from loadtest.results.queue_result import BulkComparison, BulkResult, median_result
from loadtest.servers.databases import server_settings
from loadtest.servers.versions import local_versions, package_version

Run = Callable[[BulkLoad, Callable[[int], None]], Awaitable[BulkResult]]
"""Runs a load once. It calls its second argument with the number of jobs that are done."""


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
        rounds: number of rounds.
        progress: gets reports of the runs.
        url: of a database of the server, which is asked for its settings.
        settings: other settings of the runs.
        packages: Python packages whose versions matter, besides the usual ones.

    Raises:
        DelegatorError: as for `run_contender`.
    """
    safety, postgres = await server_settings(url)
    runs: list[BulkResult] = []
    for number in range(rounds):
        # Each round begins with another arm, so that what a run leaves behind does not always slow the same one.
        shift = number % len(arms)
        names = list(arms)
        for name in [*names[shift:], *names[:shift]]:
            progress.begin(f"{name} · {load.mode}", load.jobs)
            result = await arms[name](load, progress.advance)
            if result.failed:
                progress.complain(
                    f"{name}: {result.failed} of {result.jobs} jobs did not run exactly once, or left their row"
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
