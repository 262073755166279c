"""Runs the checks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import typer

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.gateway.conformance.checks import ALONE, CHECKS, TOGETHER
from delegator.gateway.conformance.proxy import running_proxy
from delegator.gateway.conformance.suite import CheckFailed, Suite, WorkerProcess
from delegator.outbox import JobResults

_LIMIT_SECONDS: Final = 60.0


async def check_worker(
    url: str,
    command: Sequence[str],
    settings: Settings,
    queue: str,
    token: str = "",
    only: Sequence[str] | None = None,
) -> dict[str, str | None]:
    """Check a worker, and print a line for each check.

    Args:
        url: base URL of the gateway.
        command: starts the worker.
        settings: where the database is.
        queue: takes the jobs.
        token: the worker's bearer token; empty: none.
        only: names of checks; None: all.

    Returns:
        For each check what is wrong; None: nothing.

    Raises:
        ConfigurationError: there is no such check.
    """
    unknown = [name for name in only or () if name not in CHECKS]
    if unknown:
        raise ConfigurationError(f"--only {unknown[0]}: no such check; there are {', '.join(CHECKS)}")
    wanted = list(only or CHECKS)
    found: dict[str, str | None] = {}
    async with running_proxy(url) as proxy, JobResults(settings) as results:
        suite = Suite(settings, queue, proxy, results, command, token)
        try:
            async with suite.worker() as worker, asyncio.TaskGroup() as group:
                for name in TOGETHER:
                    if name in wanted:
                        group.create_task(_check(suite, worker, name, found))
            async with suite.worker() as worker:
                for name in ALONE:
                    if name in wanted:
                        await _check(suite, worker, name, found)
        finally:
            await suite.clean_up()
    return found


async def _check(suite: Suite, worker: WorkerProcess, name: str, found: dict[str, str | None]) -> None:
    check = CHECKS[name]
    began = asyncio.get_running_loop().time()
    found[name] = None
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            await check(suite, worker)
    except CheckFailed as error:
        found[name] = str(error)
    except TimeoutError:
        status = worker.process.returncode
        ended = "" if status is None else f"; the worker has ended with the status {status}"
        found[name] = f"it takes longer than {_LIMIT_SECONDS:.0f} seconds{ended}"
    seconds = asyncio.get_running_loop().time() - began
    mark = "ok    " if found[name] is None else "FAILED"
    typer.echo(f"{mark} {name:18} {seconds:5.1f} s  {found[name] or check.__doc__}")
