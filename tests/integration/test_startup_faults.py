"""What each program does when something is wrong at its start: one table of faults and programs.

A Temporal worker within another program, and PostgreSQL's faults: `tests/integration/delegator/test_worker_start.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from psycopg import sql
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.worker import Worker

from delegator import DelegatorPlugin, Settings, connect
from delegator.dev.ports import reserve
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.errors import ConfigurationError, DelegatorError, TemporalError
from delegator.relay import RelayOptions, running_relay
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from delegator.runtime.temporal_client import watch_temporal
from tests.integration.delegator import flows, tasks
from tests.support import Database, Databases
from tests.support.forwarding import forward

ROOT = Path(__file__).parents[2]
LIMIT = 100.0
"""Seconds within which the programs of one fault end: far more than they take, far less than for ever."""
FLOWS, TASKS, QUEUED = (f"tests.integration.delegator.{name}" for name in ("front_flows", "tasks", "queued_tasks"))
TOKEN, PASSWORD = "right", "secret"
SOON = "PT1S"

DELEGATOR, HTTP_WORKER = "delegator", "http_workers"
TWO_PROCESSES = "http-worker of two processes"
PROGRAMS: dict[str, tuple[str, ...]] = {
    "relay": (DELEGATOR, "relay", "--port", "0"),
    "serve": (DELEGATOR, "serve"),
    "serve with a task queue": (DELEGATOR, "serve", "--import", TASKS, "--task-queue", "faults"),
    "worker": (DELEGATOR, "worker", "--import", FLOWS, "--task-queue", "faults"),
    "http-worker": (HTTP_WORKER, "--import", TASKS),
    TWO_PROCESSES: (HTTP_WORKER, "--import", TASKS, "--processes", "2"),
    "migrate": (DELEGATOR, "migrate"),
    "dlq list": (DELEGATOR, "dlq", "list"),
}
HTTP_WORKERS = tuple(name for name in PROGRAMS if "http-worker" in name)
LONG_RUNNING = tuple(name for name in PROGRAMS if name not in ("migrate", "dlq list"))
ENGINE = tuple(name for name in LONG_RUNNING if name != "relay")
GROUPS = {
    "serve": "delegator_maintenance",
    "serve with a task queue": "delegator_maintenance",
    "worker": "delegator_enqueuer",
    **dict.fromkeys(HTTP_WORKERS, "delegator_worker"),
}


@dataclass(frozen=True)
class Says:
    """It says one line."""

    text: str
    """Stands in that line."""
    arguments: tuple[str, ...] = ()
    """Added to the command line."""
    variables: dict[str, str] = field(default_factory=dict)
    """Added to the environment."""


@dataclass(frozen=True)
class Refuses(Says):
    """It ends at once with exit code 2."""


@dataclass(frozen=True)
class WaitsThenRefuses(Refuses):
    """It waits for `DELEGATOR_START_TIMEOUT` with a warning, then ends with exit code 2."""


@dataclass(frozen=True)
class GoesOn(Says):
    """It starts, with the line as a warning, does what it can, and waits without a limit."""


@dataclass(frozen=True)
class NotConcerned:
    """The fault is none for this program."""

    reason: str


Cell = Says | NotConcerned


@dataclass(frozen=True)
class Fault:
    """What is wrong, and what each program does about it."""

    name: str
    variables: Callable[[Scene], dict[str, str]]
    """The environment in which it is wrong."""
    cells: dict[str, Cell]
    """By program."""


def each(programs: tuple[str, ...], cell: Cell) -> dict[str, Cell]:
    return dict.fromkeys(programs, cell)


NO_CONNECTION = "can't connect to PostgreSQL (DELEGATOR_DATABASE_URL): "
ONE_SHOT = ("migrate", "dlq list")
NO_STREAM = NotConcerned("it does not use the stream")
NO_TEMPORAL = NotConcerned("it does not use Temporal")


def unreachable(text: str) -> dict[str, Cell]:
    return each(LONG_RUNNING, WaitsThenRefuses(NO_CONNECTION + text)) | each(ONE_SHOT, Refuses(NO_CONNECTION + text))


FAULTS = (
    Fault("server down", lambda scene: {"DELEGATOR_DATABASE_URL": scene.at(port=scene.nobody)}, unreachable("")),
    Fault(
        "wrong password",
        lambda scene: {"DELEGATOR_DATABASE_URL": scene.at(password="wrong")},
        unreachable("connection failed: "),
    ),
    Fault(
        "wrong database",
        lambda scene: {"DELEGATOR_DATABASE_URL": scene.at(database="nowhere")},
        unreachable("connection failed: "),
    ),
    Fault(
        "not migrated",
        lambda scene: {"DELEGATOR_DATABASE_URL": scene.empty.url},
        each(
            ENGINE, Refuses("table custom_task_queue is missing: run `delegator migrate` with DELEGATOR_QUEUES=default")
        )
        | {
            "relay": Refuses("run `delegator migrate` with DELEGATOR_QUEUES naming its queue"),
            "migrate": NotConcerned("it is the cure"),
            "dlq list": Refuses("table custom_task_queue is missing: run `delegator migrate` with DELEGATOR_QUEUES="),
        },
    ),
    Fault(
        "old schema",
        lambda scene: {"DELEGATOR_DATABASE_URL": scene.old.url},
        each(ENGINE, Refuses("table custom_task_queue lacks column heartbeat_details: run `delegator migrate`"))
        | {
            "relay": Refuses("does not publish just job_id and fencing_token of table custom_task_queue"),
            "migrate": NotConcerned("it is the cure"),
            "dlq list": Refuses("table custom_task_queue lacks column heartbeat_details: run `delegator migrate`"),
        },
    ),
    Fault(
        "role without rights",
        lambda scene: {"DELEGATOR_DATABASE_URL": scene.at(user=scene.outsider, password=PASSWORD)},
        {
            name: Refuses(f'may not SELECT in table custom_task_queue: GRANT "{group}" TO "outsider_')
            for name, group in GROUPS.items()
        }
        | {
            "relay": Refuses("the role in DELEGATOR_DATABASE_URL may not stream the WAL: ALTER ROLE ... REPLICATION"),
            "migrate": Refuses("migrate as the owner of the tables"),
            "dlq list": Refuses(
                'may not SELECT in table custom_task_queue: GRANT "delegator_maintenance" TO "outsider_'
            ),
        },
    ),
    Fault(
        "undeclared queue",
        lambda scene: {},
        {
            "relay": Refuses("DELEGATOR_QUEUES naming its queue", ("--queue", "nope")),
            "serve": Refuses(
                "table custom_task_queue_other is missing: run `delegator migrate` with DELEGATOR_QUEUES=default,other",
                variables={"DELEGATOR_QUEUES": "default,other"},
            ),
            "serve with a task queue": Refuses(
                "queue 'other' of type 'in_other_queue' is not declared: add it to DELEGATOR_QUEUES",
                ("--import", QUEUED),
            ),
            "worker": Refuses(
                "queue 'other' of type 'in_other_queue' is not declared: add it to DELEGATOR_QUEUES",
                ("--import", QUEUED),
            ),
            "migrate": NotConcerned("it makes the declared queues"),
            "dlq list": NotConcerned("a dead letter may outlive its queue's declaration"),
        }
        | each(HTTP_WORKERS, Refuses("add it to DELEGATOR_QUEUES and run `delegator migrate`", ("--queue", "other"))),
    ),
    Fault(
        "wrong stream token",
        lambda scene: {"DELEGATOR_STREAM_TOKEN": "wrong"},
        each(HTTP_WORKERS, Refuses("refuses the token (401); set DELEGATOR_STREAM_TOKEN to a valid one"))
        | each(("serve", "serve with a task queue", "worker", *ONE_SHOT), NO_STREAM)
        | {"relay": NotConcerned("its token is the right one by definition")},
    ),
    Fault(
        "Temporal away",
        lambda scene: {"TEMPORAL_ADDRESS": f"127.0.0.1:{scene.nobody}"},
        each(("worker", "serve with a task queue"), WaitsThenRefuses("(TEMPORAL_ADDRESS)"))
        | each(("serve", *HTTP_WORKERS), GoesOn("(TEMPORAL_ADDRESS)"))
        | each(("relay", *ONE_SHOT), NO_TEMPORAL),
    ),
    Fault(
        "wrong namespace",
        lambda scene: {"TEMPORAL_NAMESPACE": "nowhere"},
        each(ENGINE, Refuses("has no namespace 'nowhere' (TEMPORAL_NAMESPACE)"))
        | each(("relay", *ONE_SHOT), NO_TEMPORAL),
    ),
)


@dataclass(frozen=True)
class Scene:
    """The servers, sound and not."""

    sound: Database
    empty: Database
    old: Database
    outsider: str
    """A role that may log in, and nothing else."""
    nobody: int
    """A port on which nobody listens."""
    variables: dict[str, str]
    """The environment of a program in which nothing is wrong."""

    def at(self, **parts: object) -> str:
        """Return the sound database's URL with other parts."""
        old = urlsplit(self.sound.url)
        new = {"user": old.username, "password": old.password, "port": old.port, "database": self.sound.name, **parts}
        return "postgresql://{user}:{password}@{host}:{port}/{database}".format(
            **{name: quote(str(value)) for name, value in new.items()}, host=old.hostname
        )


@pytest.fixture(scope="module")
async def scene(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Scene]:
    port = reserve()  # nobody listens on it
    async with (
        databases.fresh() as sound,
        databases.fresh(migrated=False) as empty,
        databases.fresh() as old,
        running_relay(RelayOptions.from_settings(with_token(sound.settings), port=0)) as relay,
    ):
        await execute(
            old,
            "ALTER TABLE custom_task_queue DROP COLUMN heartbeat_details",
            "ALTER TABLE custom_task_dead_letter DROP COLUMN reason",
            "ALTER PUBLICATION delegator_publication SET TABLE custom_task_queue (job_id)",
        )
        outsider = f"outsider_{sound.name}"
        await execute(sound, f"CREATE ROLE {outsider} LOGIN PASSWORD '{PASSWORD}'")
        variables = {
            **os.environ,
            "DELEGATOR_DATABASE_URL": sound.url,
            "DELEGATOR_STREAM_URL": relay.url,
            "DELEGATOR_STREAM_TOKEN": TOKEN,
            "DELEGATOR_START_TIMEOUT": SOON,
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            tasks.DIRECTORY_VARIABLE: "/nowhere",
        }
        try:
            yield Scene(sound, empty, old, outsider, port.number, variables)
        finally:
            await execute(sound, f"DROP ROLE {outsider}")
            port.release()


def with_token(settings: Settings) -> Settings:
    return settings.model_copy(update={"stream_token": SecretStr(TOKEN)})


async def execute(database: Database, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(sql.SQL(statement))


def test_the_table_is_whole():
    """Each fault says something of each program."""
    assert len(FAULTS) == 10
    for fault in FAULTS:
        assert set(fault.cells) == set(PROGRAMS), fault.name


@pytest.mark.timeout(2 * LIMIT)
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name.replace(" ", "_") for fault in FAULTS])
async def test_fault(fault: Fault, scene: Scene):
    """Each program says what is wrong in one line, and ends or waits as the table says; none hangs."""
    environment = scene.variables | fault.variables(scene)
    concerned = {name: cell for name, cell in fault.cells.items() if not isinstance(cell, NotConcerned)}
    complaints = await asyncio.gather(*(look(name, cell, environment) for name, cell in concerned.items()))
    assert [complaint for complaint in complaints if complaint] == []


async def look(name: str, cell: Says, environment: dict[str, str]) -> str:
    """Run a program; return what it did otherwise than the table says, or nothing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *PROGRAMS[name], *cell.arguments),
        cwd=ROOT,
        env=environment | cell.variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(LIMIT):
            async for line in process.stdout:
                lines.append(line.decode().rstrip())
                if isinstance(cell, GoesOn) and is_going_on(name, cell, lines):
                    process.send_signal(signal.SIGTERM)
                    break
            lines += (await process.stdout.read()).decode().splitlines()
            code = await process.wait()
    except TimeoutError:
        return f"{name} hangs: {lines}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    wrong = went_wrong(name, cell, code, lines)
    return f"{name}: {wrong}: exit code {code}: {lines}" if wrong else ""


def went_wrong(name: str, cell: Says, code: int, lines: list[str]) -> list[str]:
    """Return what is not as the table says."""
    own = "http-worker" if name in HTTP_WORKERS else "delegator"
    said = [line for line in lines if line.startswith(f"{own}: ")]
    warned = [line for line in lines if "connection_failed" in line]
    processes = 2 if name == TWO_PROCESSES else 1
    if isinstance(cell, GoesOn):
        expected = {
            "exit code": code == 0,
            "one warning a process": len(warned) == processes,
            "the warning's text": all(cell.text in line for line in warned),
        }
    else:
        waits = isinstance(cell, WaitsThenRefuses)
        expected = {
            "exit code": code == 2,
            "one line": len(said) == 1 and lines[-1] == said[0],
            "its text": bool(said) and cell.text in said[0],
            "waits with a warning": 1 <= len(warned) <= processes if waits else not warned,
        }
    expected["no traceback"] = not any("Traceback" in line for line in lines)
    return [what for what, is_so in expected.items() if not is_so]


def is_going_on(name: str, cell: GoesOn, lines: list[str]) -> bool:
    """Whether a program warned and started, with all its processes."""
    processes = 2 if name == TWO_PROCESSES else 1
    started = "maintenance_started" if name == "serve" else "worker_started"
    text = "\n".join(lines)
    return text.count(started) >= processes and text.count(cell.text) >= processes


async def run(worker: Worker) -> None:
    await worker.run()


async def async_with(worker: Worker) -> None:
    async with worker:
        await asyncio.Event().wait()


def make_worker(client: Client, scene: Scene) -> Worker:
    settings = scene.sound.settings.model_copy(update={"start_timeout": timedelta(seconds=1)})
    plugin = DelegatorPlugin(settings=settings)
    return Worker(client, task_queue=f"faults-{uuid.uuid4()}", workflows=[flows.Many], plugins=[plugin])


WAYS = (run, async_with)
Way = Callable[[Worker], Awaitable[None]]


@pytest.mark.parametrize("way", WAYS)
async def test_worker_in_a_wrong_namespace(way: Way, scene: Scene, temporal: TemporalServer):
    """A Temporal worker with the plugin does not start in a namespace that does not exist."""
    client = await Client.connect(temporal.address, namespace="nowhere")
    async with asyncio.timeout(LIMIT):
        error = await failure(way, make_worker(client, scene))
    assert isinstance(error, ConfigurationError)
    assert "has no namespace 'nowhere' (TEMPORAL_NAMESPACE)" in str(error)


@pytest.mark.parametrize("way", WAYS)
async def test_worker_whose_temporal_is_away(
    way: Way, scene: Scene, temporal: TemporalServer, caplog: pytest.LogCaptureFixture
):
    """A Temporal worker with the plugin waits for a server that has gone since its client connected, then says so."""
    async with asyncio.timeout(LIMIT):
        async with forwarder(temporal.address) as address:
            client = await Client.connect(address, namespace=NAMESPACE)
        error = await failure(way, make_worker(client, scene))
    assert isinstance(error, TemporalError)
    assert "(TEMPORAL_ADDRESS)" in str(error)
    assert caplog.text.count("worker_waits: ") == 1


async def test_a_wrong_namespace_of_a_late_server(temporal: TemporalServer, caplog: pytest.LogCaptureFixture):
    """A process that began without Temporal logs that its namespace does not exist once the server answers."""
    client = await Client.connect(temporal.address, namespace="nowhere")
    state = ConnectionState("temporal", ConnectionMetrics(CollectorRegistry()))
    state.lost("away")
    watch = asyncio.create_task(watch_temporal(client, state))
    try:
        async with asyncio.timeout(LIMIT):
            while "connection_refused" not in caplog.text:
                await asyncio.sleep(0.01)
    finally:
        watch.cancel()
        await asyncio.wait([watch])
    assert "(TEMPORAL_NAMESPACE)" in str(state.problem())


async def failure(way: Way, worker: Worker) -> DelegatorError:
    with pytest.raises(DelegatorError) as raised:
        await way(worker)
    await worker.shutdown()
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("variable", "value", "error", "text"),
    [
        ("TEMPORAL_NAMESPACE", "nowhere", ConfigurationError, "has no namespace 'nowhere' (TEMPORAL_NAMESPACE)"),
        (
            "TEMPORAL_ADDRESS",
            "127.0.0.1:1",
            TemporalError,
            "can't connect to Temporal at 127.0.0.1:1 (TEMPORAL_ADDRESS)",
        ),
    ],
)
async def test_connect(
    variable: str, value: str, error: type[DelegatorError], text: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    """`connect` raises one line at once: PostgreSQL and the stream are no concern of a client."""
    for name, sound in (scene.variables | {variable: value}).items():
        if name.startswith(("DELEGATOR_", "TEMPORAL_")):
            monkeypatch.setenv(name, sound)
    async with asyncio.timeout(LIMIT):
        with pytest.raises(error) as raised:
            await connect()
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


@contextlib.asynccontextmanager
async def forwarder(address: str) -> AsyncIterator[str]:
    """A way to a server that is closed for good at the end of the block."""
    host, _, port = address.rpartition(":")
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, port)
        writers.extend((writer, there_writer))
        await asyncio.gather(forward(reader, there_writer), forward(there_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
