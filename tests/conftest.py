"""Fixtures shared by all tests. Servers start once a run, on free ports, when a test first asks for them."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from temporalio.client import Client

from delegator.dev import RunningStack, StackOptions, embedded_stack
from delegator.dev.accounts import temporary_bases
from delegator.dev.directory import StackDirectory
from delegator.dev.postgres import Postgres
from delegator.dev.temporal import NAMESPACE, TemporalServer
from tests.support import Database, Databases, pgbouncer
from tests.support.postgres15 import Server15, running_postgres15
from tests.support.session_logs import is_of_test, shared

MakeDatabase = Callable[..., Awaitable[Database]]


_ROOT = Path(__file__).parent.parent
_FOR_TESTS = ("DELEGATOR_TEST_", "DELEGATOR_ATLAS", "DELEGATOR_CHAOS")


def pytest_configure() -> None:
    """Ignore the settings of the shell that runs the tests, and the speed of the machine."""
    # Imported here: a workflow's module may import this one, and the sandbox refuses what Hypothesis does at import.
    import hypothesis

    # By default Hypothesis fails an example that takes 200 ms. On a busy machine any example may.
    hypothesis.settings.register_profile("any-speed", deadline=None)
    hypothesis.settings.load_profile("any-speed")
    for name in [name for name in os.environ if name.startswith(("DELEGATOR_", "TEMPORAL_"))]:
        if not name.startswith(_FOR_TESTS):
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `atlas` or `pgbouncer` where these programs are missing, unless CI insists on them."""
    atlas = Path(os.environ.get("DELEGATOR_ATLAS", _ROOT / ".tools/bin/atlas"))
    postgres15 = Path(os.environ.get("POSTGRES15_BIN", "/usr/lib/postgresql/15/bin"))
    missing = [
        advice
        for program, advice in (
            (atlas, "the Atlas CLI (make atlas)"),
            (postgres15 / "initdb", "PostgreSQL 15 (Debian: apt-get install postgresql)"),
        )
        if not os.access(program, os.X_OK)
    ]
    if missing and "DELEGATOR_TEST_REQUIRE_ATLAS" not in os.environ:
        for item in items:
            if item.get_closest_marker("atlas"):
                item.add_marker(pytest.mark.skip(reason=f"needs {' and '.join(missing)}"))
    if pgbouncer.program() is None and "DELEGATOR_TEST_REQUIRE_ATLAS" not in os.environ:
        for item in items:
            if item.get_closest_marker("pgbouncer"):
                item.add_marker(pytest.mark.skip(reason="needs PgBouncer (Debian: apt-get install pgbouncer)"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what UTF-8 can't hold in captured output: xdist can't send a lone surrogate, and its worker would end."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session", autouse=True)
def slow_workflow_tasks() -> Iterator[None]:
    """Let a workflow task of the tests compute for a minute.

    The SDK interrupts one after two seconds of wall-clock time (TMPRL1101). A thousand calls at once may take longer on
    a busy machine. A workflow that is interrupted at a bad moment can't be evicted any more, and its worker never ends.
    """
    worker = pytest.importorskip("temporalio.worker._workflow")._WorkflowWorker
    init = worker.__init__

    def patient(self: object, **options: object) -> None:
        init(self, **options)
        if self._deadlock_timeout_seconds is not None:  # type: ignore[attr-defined]
            self._deadlock_timeout_seconds = 60  # type: ignore[attr-defined]

    worker.__init__ = patient
    yield
    worker.__init__ = init


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Pytest's, without what shared engines log meanwhile."""
    caplog.handler.addFilter(is_of_test)
    yield caplog
    caplog.handler.removeFilter(is_of_test)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Undo `configure_logging` after a test: its handlers, its level, and the capture of warnings."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def server_directory() -> Iterator[StackDirectory]:
    """A directory for the run's servers, gone at its end."""
    directory = StackDirectory.open(None, keep=False)
    yield directory
    directory.close()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A temporary directory that every user can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="delegator-test-", dir=temporary_bases()[0]) as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture(scope="session")
async def postgres(server_directory: StackDirectory) -> AsyncIterator[Postgres]:
    """A real PostgreSQL 18 with logical replication."""
    server = Postgres(
        server_directory.path / "postgres", server_directory.log("postgres"), durable=False, preferred_port=None
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        server.release()


@pytest.fixture(scope="session")
def databases(postgres: Postgres) -> Databases:
    """Makes databases for fixtures of any scope: `async with databases.fresh() as database`."""
    return Databases(postgres)


@pytest.fixture
async def make_database(databases: Databases) -> AsyncIterator[MakeDatabase]:
    """`await make_database(queues=(...), migrated=True)`: a database that is dropped after the test."""
    async with AsyncExitStack() as stack:

        async def make(**options: object) -> Database:
            return await stack.enter_async_context(databases.fresh(**options))

        yield make


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """A fresh migrated database for one test."""
    async with databases.fresh() as fresh:
        yield fresh


@pytest.fixture(scope="module")
async def module_database(databases: Databases) -> AsyncIterator[Database]:
    """A fresh migrated database for the tests of one module."""
    async with databases.fresh() as fresh:
        yield fresh


@pytest.fixture(scope="session")
async def temporal(server_directory: StackDirectory) -> AsyncIterator[TemporalServer]:
    """A Temporal dev server in memory; `temporal.address`."""
    server = TemporalServer(
        server_directory.log("temporal"), headless=True, preferred_port=None, preferred_ui_port=None
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        server.release()


@pytest.fixture(scope="session")
async def temporal_client(temporal: TemporalServer) -> Client:
    """A plain client (no plugins) of that server."""
    return await Client.connect(temporal.address, namespace=NAMESPACE)


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[RunningStack]:
    """A whole embedded stack, with its relay, for tests that do not harm it."""
    async with shared(embedded_stack(StackOptions(headless=True, usual_ports=False))) as running:
        yield running


@pytest.fixture(scope="session")
def stack_environment(stack: RunningStack) -> dict[str, str]:
    """The whole environment for a child process that uses that stack."""
    return {**os.environ, **stack.environment}


@pytest.fixture(scope="module")
def postgres15() -> Iterator[Server15]:
    """Debian's PostgreSQL 15. Tests that ask for it are marked `atlas`, so they are skipped where it is missing."""
    with running_postgres15() as server:
        yield server
