"""The pytest plugin in the processes that run the SDK's tests."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from temporalio.testing import WorkflowEnvironment

from .delegating import Delegation, be_patient, install, share_modules
from .results import RUN_AGAIN, TIMED_OUT, Outcome, Seen, Way
from .selection import uses_activity

WAY = "CONFORMANCE_WAY"
REPORT = "CONFORMANCE_REPORT"
TEMPORAL = "CONFORMANCE_TEMPORAL"
LOGS = "CONFORMANCE_LOGS"
SHARE = "CONFORMANCE_SHARE"
LIMIT = "CONFORMANCE_LIMIT"
_MARGIN_SECONDS: Final = 10.0


class Recorder:
    """Records the outcome of every test, one line of JSON each."""

    def __init__(self, report: Path, delegation: Delegation | None) -> None:
        """Record into a file.

        Args:
            report: the file.
            delegation: counts the jobs; None: nothing is delegated.
        """
        self._report = report
        self._delegation = delegation
        self._outcome: Outcome = "passed"
        self._error = ""
        self._status = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Write a line when a test begins, so that one that ends the process is known, and a line when it ends."""
        self._outcome, self._error = "passed", ""
        self._write(item, "begun")
        if self._delegation is not None:
            self._delegation.begin_test()
        watchdog = threading.Timer(float(os.environ[LIMIT]) + _MARGIN_SECONDS, self._give_up, [item])
        watchdog.start()
        try:
            return (yield)
        finally:
            watchdog.cancel()
            self._write(item, self._outcome)
            if self._delegation is not None:
                if self._loop is not None and not self._loop.is_closed() and not self._error.startswith(TIMED_OUT):
                    # The SDK's worker calls itself shut down before its plugins have ended.
                    self._loop.run_until_complete(self._delegation.pools_ended())
                if self._delegation.pools or self._error.startswith(TIMED_OUT):
                    # Its workers would take the jobs of the next test. A new process runs the other tests.
                    _end_process(RUN_AGAIN)
                self._delegation.end_test()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Keep the worst outcome of a test's phases."""
        report: pytest.TestReport = yield
        if report.failed and self._outcome != "failed":
            self._outcome, self._error = "failed", _one_line(call)
            print(report.longreprtext, report.caplog, sep="\n")
        elif report.skipped and self._outcome == "passed":
            self._outcome, self._error = "skipped", _one_line(call)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> None:
        """Keep the event loop of the test."""
        self._loop = getattr(pyfuncitem, "funcargs", {}).get("event_loop")

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """End the process, which threads of a failed test might keep."""
        _end_process(self._status)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Keep the status of the process."""
        self._status = int(exitstatus)

    def _give_up(self, item: pytest.Item) -> None:
        """End a test that pytest-timeout could not end: its exception may be lost in a callback of the event loop."""
        faulthandler.dump_traceback()
        if self._loop is not None:
            for task in asyncio.all_tasks(self._loop):
                task.print_stack()
        self._error = f"{TIMED_OUT} (it can't be interrupted)"
        self._write(item, "failed")
        _end_process(RUN_AGAIN)

    def _write(self, item: pytest.Item, outcome: Outcome) -> None:
        jobs = 0 if self._delegation is None else self._delegation.jobs
        with self._report.open("a") as report:
            report.write(Seen(item.nodeid, outcome, jobs, self._error).as_line() + "\n")


def _end_process(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _one_line(call: pytest.CallInfo[None]) -> str:
    if call.excinfo is None:
        return ""
    errors: list[str] = []
    error: BaseException | None = call.excinfo.value
    while error is not None and len(errors) < 5:
        errors.append(" ".join(f"{type(error).__name__}: {error}".split())[:300])
        error = error.__cause__
    return " <- ".join(errors)


def pytest_configure(config: pytest.Config) -> None:
    """Make the tests delegate, before any of them is imported."""
    way = Way(os.environ[WAY])
    delegation = None
    _use_installed_server(serves=way is not Way.PLAIN)
    be_patient()
    if os.environ.get(SHARE):
        share_modules()
    if way is not Way.PLAIN:
        delegation = Delegation(way)
        install(delegation)
    config.pluginmanager.register(Recorder(Path(os.environ[REPORT]), delegation))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that use no activity."""
    left_out = [item for item in items if not uses_activity(config.rootpath, item.path, _name_of(item))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _name_of(item: pytest.Item) -> str:
    parts = [part.name for part in item.listchain() if isinstance(part, pytest.Class)]
    return ".".join([*parts, getattr(item, "originalname", item.name)])


def _use_installed_server(*, serves: bool) -> None:
    """Start Temporal from the installed program instead of a download, and `delegator serve` with the first server."""
    start_local = WorkflowEnvironment.start_local
    serving = not serves

    async def start(*arguments: Any, **options: Any) -> WorkflowEnvironment:
        nonlocal serving
        options.pop("dev_server_download_version", None)
        environment = await start_local(*arguments, **{"dev_server_existing_path": os.environ[TEMPORAL], **options})
        if not serving:
            serving = True
            await _serve(environment)
        return environment

    WorkflowEnvironment.start_local = start  # type: ignore[method-assign]


async def _serve(environment: WorkflowEnvironment) -> None:
    client = environment.client
    os.environ["TEMPORAL_ADDRESS"] = client.service_client.config.target_host
    os.environ["TEMPORAL_NAMESPACE"] = client.namespace
    with (Path(os.environ[LOGS]) / "serve.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "delegator", "serve", stdout=log, stderr=log
        )
    shutdown = environment.shutdown

    async def stop() -> None:
        with suppress(ProcessLookupError):  # it has refused to serve two clusters: the test has started a second server
            process.terminate()
        await process.wait()
        await shutdown()

    environment.shutdown = stop  # type: ignore[method-assign]
