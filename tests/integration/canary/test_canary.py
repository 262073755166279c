"""A canary secret is in none of the places where it must not be: they are searched byte by byte.

One canary is a payload: with encryption it may be readable in no place at rest, in no log and in no other process. The
others are the credentials of the processes: they may be in no log, in no metric, in no history and in no command line.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from temporalio.client import Client

from delegator.dev import RunningStack, StackOptions, embedded_stack, ports
from delegator.dev.programs import CODEC_SERVER, RELAY, SERVE
from delegator.encryption import EncryptionKeys, encrypted

HERE = Path(__file__).parent
CANARY = "canary-of-a-payload-6b1f"
OPTIONS = StackOptions(
    headless=True,
    usual_ports=False,
    encrypt=True,
    programs=tuple(
        dataclasses.replace(spec, arguments=(*spec.arguments, "--log-level", "debug")) for spec in (RELAY, SERVE)
    ),
)
PROGRAMS = {
    "http-worker": ("-m", "http_workers", "--import", "canary_tasks"),
    "worker": ("-m", "delegator", "worker", "--import", "canary_tasks", "--task-queue", "canaries"),
}


@dataclass(frozen=True)
class Seen:
    """What is searched."""

    stack: RunningStack
    credentials: dict[str, bytes]
    logs: dict[str, bytes]
    metrics: dict[str, bytes]
    histories: dict[str, bytes]
    commands: dict[str, bytes]


def forms(secret: str) -> Iterator[bytes]:
    """Return how a secret may be written: as it is, as hexadecimal digits, and as Base64 at any place of a text."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        yield encoded[4 if before else 0 : len(encoded) // 4 * 4 - 4]


def places(secret: str, things: dict[str, bytes]) -> list[str]:
    """Return the names of the things that hold a secret."""
    return [name for name, thing in things.items() if any(form in thing for form in forms(secret))]


@asynccontextmanager
async def process(name: str, port: int, stack: RunningStack, log: Path) -> AsyncIterator[int]:
    with log.open("wb") as output:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, *PROGRAMS[name], "--log-level", "debug", "--port", str(port)),
            cwd=HERE,
            env={**os.environ, **stack.environment},
            stdout=output,
            stderr=output,
        )
        try:
            yield started.pid
        finally:
            started.terminate()
            await started.wait()


@pytest.fixture(scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    """A stack that has carried the canary, with the processes still running."""
    folder = tmp_path_factory.mktemp("canary")
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(embedded_stack(OPTIONS))
        reserved = {name: ports.reserve() for name in PROGRAMS}
        for port in reserved.values():
            exits.callback(port.release)
        pids = dict(stack.pids)
        for name, port in reserved.items():
            log = folder / f"{name}.log"
            pids[name] = await exits.enter_async_context(process(name, port.number, stack, log))
        keys = EncryptionKeys.parse(Path(stack.environment["DELEGATOR_ENCRYPTION_KEYS_FILE"]).read_text())
        client = await Client.connect(stack.temporal_address, data_converter=encrypted(keys=keys))
        handle = await client.start_workflow("Carrier", CANARY, id="carrier", task_queue="canaries", result_type=str)
        async with asyncio.timeout(100):
            assert await handle.result() == CANARY
        history = await (await Client.connect(stack.temporal_address)).get_workflow_handle("carrier").fetch_history()
        urls = {**stack.program_urls, **{name: f"http://127.0.0.1:{port.number}" for name, port in reserved.items()}}
        async with aiohttp.ClientSession() as session:
            metrics = {name: await (await session.get(f"{url}/metrics")).read() for name, url in urls.items()}
        async with await psycopg.AsyncConnection.connect(stack.database_url, autocommit=True) as connection:
            await connection.execute("CHECKPOINT")  # now the files of the tables hold what the tables hold
            letters = await (await connection.execute("SELECT count(*) FROM custom_task_dead_letter")).fetchone()
        assert letters == (2,)
        logs = {path.name: path.read_bytes() for path in [*stack.logs.values(), *folder.glob("*.log")]}
        yield Seen(
            stack,
            {
                "token": stack.stream_token.encode(),
                "password": str(conninfo_to_dict(stack.database_url)["password"]).encode(),
                "key": base64.b64encode(next(iter(keys)).secret),
            },
            logs,
            metrics,
            {str(event.event_id): event.SerializeToString() for event in history.events},
            {f"{name} {pid}": " ".join(psutil.Process(pid).cmdline()).encode() for name, pid in pids.items()},
        )


def files_of_postgres(stack: RunningStack) -> dict[str, bytes]:
    """Return the files of the tables and of the WAL."""
    data = stack.directory / "postgres" / "data"
    return {
        str(path.relative_to(data)): path.read_bytes()
        for folder in ("base", "pg_wal", "pg_logical", "pg_replslot")
        for path in (data / folder).rglob("*")
        if path.is_file()
    }


def memory_of(pid: int) -> bytes:
    """Return what a process can write to: its heap, its stacks, its buffers."""
    parts = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found and "[v" not in line:
                begin, end = (int(number, 16) for number in found.groups())
                memory.seek(begin)
                parts.append(memory.read(end - begin) or b"")
    return b"\n".join(parts)


def test_search_finds(seen: Seen) -> None:
    """The search finds what is there: the forms of a secret, what may be readable in the files, and in the memory."""
    assert [places(CANARY, {"x": b"..." + form + b"..."}) for form in forms(CANARY)] == [["x"]] * 5
    for before in range(3):
        assert places(CANARY, {"x": base64.b64encode(b"y" * before + CANARY.encode() + b"zz")}) == ["x"]
    files = files_of_postgres(seen.stack)
    found = places("passes_on", files)
    assert any(name.startswith("pg_wal") for name in found) and any(name.startswith("base") for name in found)
    assert seen.credentials["token"] in memory_of(seen.stack.pid("relay"))
    assert b"debug" in seen.logs["http-worker.log"] and b"passes_on" in seen.logs["http-worker.log"]
    assert set(seen.metrics) == {RELAY.name, SERVE.name, CODEC_SERVER.name, *PROGRAMS}


def test_payload(seen: Seen) -> None:
    """The payload is unreadable in tables and WAL, in the relay, in logs and metrics, and in the history."""
    assert places(CANARY, files_of_postgres(seen.stack)) == []
    assert places(CANARY, {"relay": memory_of(seen.stack.pid("relay"))}) == []
    for things in (seen.logs, seen.metrics, seen.histories, seen.commands):
        assert things and places(CANARY, things) == []


def test_credentials(seen: Seen) -> None:
    """No log, no metric, no history and no command line holds the token, the password or the key."""
    everything: list[dict[str, Any]] = [seen.logs, seen.metrics, seen.histories, seen.commands]
    for secret in seen.credentials.values():
        for things in everything:
            assert [name for name, thing in things.items() if secret in thing] == []
