"""The stack as chaos tests and the load test use it."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psycopg
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payloads
from temporalio.client import Client

from delegator.config import Settings
from delegator.dev import RunningStack, StackOptions, embedded_stack
from delegator.dev import postgres as postgres_module
from delegator.dev.directory import StackDirectory
from delegator.dev.postgres import Postgres
from delegator.dev.programs import PROGRAMS, ProgramSpec
from delegator.encryption import EncryptionKeys, encrypted
from delegator.errors import ConfigurationError, DependencyError

OPTIONS = StackOptions(headless=True, usual_ports=False)


async def test_kill_and_restart() -> None:
    """Components that are killed start again on the same ports with the same data."""
    async with embedded_stack(StackOptions(headless=True, usual_ports=False, temporal_file=True)) as stack:
        before = stack.environment
        pids = stack.pids
        async with await psycopg.AsyncConnection.connect(stack.database_url) as connection:
            await connection.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES ('kept', 't')")
        client = await Client.connect(stack.temporal_address)
        await client.start_workflow("unknown", id="kept", task_queue="nobody")

        await stack.kill("relay")
        with pytest.raises(DependencyError, match="relay is not running"):
            stack.pid("relay")
        await stack.start("relay")
        await stack.restart("postgres", mode="fast")
        await stack.restart("postgres", mode="immediate")
        await stack.kill("postgres")
        await stack.start("postgres")
        await stack.restart("temporal")

        assert stack.environment == before
        assert all(stack.pid(name) != pids[name] for name in ("postgres", "temporal", "relay"))
        async with await psycopg.AsyncConnection.connect(stack.database_url) as connection:
            assert await (await connection.execute("SELECT job_id FROM custom_task_queue")).fetchall() == [("kept",)]
        client = await Client.connect(stack.temporal_address)
        assert (await client.get_workflow_handle("kept").describe()).id == "kept"
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {stack.stream_token}"}) as session,
            asyncio.timeout(60),
        ):
            while not await _received(session, stack.stream_url):
                await asyncio.sleep(0.1)


async def test_component_dies() -> None:
    """A component that dies cancels the block, and its error is raised."""
    with pytest.raises(DependencyError, match="postgres ended .* its log"):
        async with embedded_stack(OPTIONS) as stack:
            os.kill(stack.pid("postgres"), signal.SIGQUIT)
            await asyncio.sleep(60)
    with pytest.raises(DependencyError, match="relay is not running"):
        stack.pid("relay")


async def test_failed_start() -> None:
    """The error about a program that does not start quotes its output."""
    broken = ProgramSpec("broken", ("-c", "import sys; sys.exit('no disk left')"), health_path="/health")
    with pytest.raises(DependencyError, match=r"(?s)broken ended \(exit code 1\).*no disk left"):
        async with embedded_stack(StackOptions(headless=True, usual_ports=False, programs=(*PROGRAMS, broken))):
            pass


async def test_an_unknown_component_is_named() -> None:
    async with embedded_stack(StackOptions(headless=True, usual_ports=False, programs=())) as stack:
        with pytest.raises(ConfigurationError, match="no component 'sequin'; it has postgres, temporal"):
            await stack.kill("sequin")


async def test_port_race() -> None:
    """A port that another program takes before the server binds it is replaced by another one."""
    directory = StackDirectory.open(None, keep=False)
    server = Postgres(directory.path / "postgres", directory.log("postgres"), durable=False, preferred_port=None)
    thief = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", server.ports[0])
    taken = server.ports[0]
    try:
        await server.start()
        assert server.ports[0] != taken
        assert server.url("postgres").endswith(f":{server.ports[0]}/postgres")
    finally:
        thief.close()
        await thief.wait_closed()
        await server.stop()
        server.release()
        directory.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
async def test_unreadable_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the server's user can't run are copied into the stack's directory."""
    monkeypatch.setattr(postgres_module, "can_run", lambda _program, _account: False)
    directory = StackDirectory.open(None, keep=False)
    server = Postgres(directory.path / "postgres", directory.log("postgres"), durable=False, preferred_port=None)
    try:
        await server.start()
        assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(directory.path)
        await server.ensure_database()
    finally:
        await server.stop()
        server.release()
        directory.close()


async def _received(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.post(f"{url}/api/sequin_streams/custom_task_queue/receive", json={}) as response:
            return response.status == 200 and bool((await response.json())["data"])
    except aiohttp.ClientError:
        return False


async def test_encrypted() -> None:
    """A stack that encrypts gives its processes a key, and lets the page of Temporal's UI decode, at whatever port."""
    directory = StackDirectory.open(None, keep=False)
    stack = RunningStack(StackOptions(usual_ports=False, encrypt=True, programs=()), directory)
    taken = urlsplit(str(stack.temporal_ui_url))
    try:
        with contextlib.closing(socket.create_server((str(taken.hostname), taken.port or 0))):
            await stack.open()
        assert stack.temporal_ui_url != taken.geturl()
        await _assert_encrypts(stack)
    finally:
        await stack.close()
        directory.close()


async def _assert_encrypts(stack: RunningStack) -> None:
    async with aiohttp.ClientSession() as session:
        keys = EncryptionKeys.load(Settings(encryption_keys_file=stack.environment["DELEGATOR_ENCRYPTION_KEYS_FILE"]))
        converter = encrypted(keys=keys)
        assert stack.environment["DELEGATOR_DATA_CONVERTER"] == "delegator.encryption:data_converter"
        (payload,) = await converter.encode(["a secret"])
        async with session.get(f"{stack.temporal_ui_url}/api/v1/settings") as answer:
            settings = await answer.json()
        assert settings["Codec"]["Endpoint"] == stack.codec_url
        page = {"Origin": str(stack.temporal_ui_url)}
        body = MessageToDict(Payloads(payloads=[payload]))
        async with session.post(f"{stack.codec_url}/decode", json=body, headers=page) as answer:
            decoded = ParseDict(await answer.json(), Payloads())
            assert answer.headers["Access-Control-Allow-Origin"] == stack.temporal_ui_url
        assert decoded.payloads[0].data == b'"a secret"'
