"""Sequin's HTTP contract, line by line of design.md section 5."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp
import pytest

from tests.support import Database

from .client import STREAM, Puller, enqueue, execute, names, relay

TOKEN = "s3cret"
PREFIXES = ("sequin_streams", "http_pull_consumers")
AUTH = {"Authorization": f"Bearer {TOKEN}"}
RECEIVE = f"/api/sequin_streams/{STREAM}/receive"
ACK = f"/api/sequin_streams/{STREAM}/ack"


@pytest.fixture(scope="module")
async def served(module_database: Database) -> AsyncIterator[Puller]:
    async with relay(module_database, token=TOKEN) as (handle, puller):
        puller.session.headers.update(AUTH)
        yield Puller(handle.url, puller.session)


@pytest.fixture
async def running(served: Puller, module_database: Database) -> Puller:
    await execute(module_database, f"TRUNCATE {STREAM}")
    return served


@pytest.fixture
async def bare() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(skip_auto_headers=["Accept", "Content-Type"]) as session:
        yield session


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_routes(running: Puller, module_database: Database, prefix: str) -> None:
    """Both prefixes serve receive by GET and POST, and ack and nack by POST only."""
    base = f"{running.url}/api/{prefix}/{STREAM}"
    await enqueue(module_database, 1, 1)
    async with running.session.get(f"{base}/receive?wait_for=5s") as response:
        assert response.status == 200 and response.content_type == "application/json"
        first = (await response.json())["data"]
    ids = {"ack_ids": [first[0]["ack_id"]]}
    async with running.session.post(f"{base}/nack", json=ids) as response:
        assert (response.status, await response.json()) == (200, {"success": True})
    async with running.session.post(f"{base}/receive", json={"wait_for": 500}) as response:
        assert (await response.json())["data"] == first
    async with running.session.post(f"{base}/ack", json=ids) as response:
        assert (response.status, await response.json()) == (200, {"success": True})
    for action in ("ack", "nack"):
        async with running.session.get(f"{base}/{action}") as response:
            assert response.status == 404


async def test_the_shape_of_a_message(running: Puller, module_database: Database) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    await enqueue(module_database, 10, 11)
    await running.has(2)
    batch = await running.receive(2)
    await running.ack(batch)
    assert names(batch) == ["j10", "j11"]
    for index, message in enumerate(batch):
        assert set(message) == {"ack_id", "data"}
        assert UUID(message["ack_id"]).version == 4
        data = message["data"]
        assert set(data) == {"record", "changes", "action", "metadata"}
        assert (data["changes"], data["action"]) == (None, "insert")
        metadata = data["metadata"]
        assert set(metadata) == {
            "table_schema", "table_name", "database_name", "commit_timestamp", "commit_lsn", "commit_idx",
            "transaction_annotations", "idempotency_key", "record_pks", "enrichment", "consumer", "database",
        }  # fmt: skip
        assert (metadata["table_schema"], metadata["table_name"]) == ("public", STREAM)
        assert metadata["database_name"] == module_database.name
        assert metadata["commit_timestamp"][-8] == "." and metadata["commit_timestamp"].endswith("Z")
        assert before < datetime.fromisoformat(metadata["commit_timestamp"]) < datetime.now(UTC) + timedelta(seconds=5)
        assert isinstance(metadata["commit_lsn"], int)
        assert metadata["commit_idx"] == index
        assert b64decode(metadata["idempotency_key"]).decode() == f"{metadata['commit_lsn']}:{index}"
        assert metadata["record_pks"] == [data["record"]["job_id"]]
        assert (metadata["transaction_annotations"], metadata["enrichment"]) == (None, None)
        assert set(metadata["consumer"]) == {"id", "name", "annotations"}
        assert metadata["consumer"]["name"] == STREAM
        assert set(metadata["database"]) == {"id", "name", "annotations", "database", "hostname"}
        UUID(metadata["consumer"]["id"]), UUID(metadata["database"]["id"])


async def test_by_default_one_message_and_no_wait(running: Puller, module_database: Database) -> None:
    assert await running.post("receive", {}) == (200, {"data": []})
    await enqueue(module_database, 20, 22)
    await running.has(3)
    first = await running.receive(1)
    status, body = await running.post("receive", {})
    assert status == 200 and names(body["data"]) == ["j21"]
    await running.ack(first + body["data"])
    assert await running.drain() == ["j22"]


@pytest.mark.parametrize("body", [{"max_batch_size": 1, "batch_size": 3}, {"batch_size": "3"}])
async def test_older_batch_size_name(running: Puller, module_database: Database, body: dict[str, object]) -> None:
    """A request with both names of the batch size gets that of the older name."""
    await enqueue(module_database, 30, 33)
    await running.has(4)
    first = await running.receive(1)
    _, answer = await running.post("receive", body)
    await running.ack(first + answer["data"])
    assert len(answer["data"]) == 3


@pytest.mark.parametrize(
    "query",
    ["max_batch_size=0", "max_batch_size=1001", "max_batch_size=x", "batch_size=0", "wait_for=0", "wait_for=499",
     "wait_for=300001", "wait_for=1h", "wait_for=1.5s", "wait_for="],
)  # fmt: skip
async def test_bad_parameters(running: Puller, query: str) -> None:
    """Bad parameters get status 400, in the query and in the body."""
    async with running.session.get(f"{running.url}{RECEIVE}?{query}") as response:
        assert response.status == 400
        assert set(await response.json()) == {"summary"}
    name, _, value = query.partition("=")
    status, body = await running.post("receive", {name: value})
    assert status == 400 and set(body) == {"summary"} and "Invalid" in body["summary"]


async def test_the_body_wins_over_the_query(running: Puller) -> None:
    async with running.session.post(f"{running.url}{RECEIVE}?max_batch_size=0", json={"max_batch_size": 1}) as response:
        assert response.status == 200


async def test_a_body_that_is_not_json_is_400(running: Puller) -> None:
    headers = {"Content-Type": "application/json"}
    async with running.session.post(f"{running.url}{RECEIVE}", data=b"{", headers=headers) as response:
        assert response.status == 400 and set(await response.json()) == {"summary"}


async def test_wait_for(running: Puller, module_database: Database) -> None:
    """A poll waits as long as it says, and ends at once when a message comes."""
    began = time.monotonic()
    assert await running.receive(wait=600) == []
    assert time.monotonic() - began > 0.55
    waiting = asyncio.create_task(running.receive(wait=200_000))
    await asyncio.sleep(0.1)
    await enqueue(module_database, 40, 40)
    async with asyncio.timeout(60):
        batch = await waiting
    await running.ack(batch)


async def test_wait_for_with_hidden_messages(running: Puller, module_database: Database) -> None:
    """Hidden messages do not end a poll."""
    await enqueue(module_database, 45, 45)
    hidden = await running.receive()
    began = time.monotonic()
    assert await running.receive(wait=500) == []
    assert time.monotonic() - began > 0.45
    await running.ack(hidden)


async def test_ids_without_effect(running: Puller, module_database: Database) -> None:
    """Unknown, stale and repeated ids are ignored, with status 200."""
    await enqueue(module_database, 50, 50)
    batch = await running.receive()
    unknown = "00000000-0000-4000-8000-000000000000"
    for action in ("ack", "nack", "ack"):
        ids = {"ack_ids": [unknown, batch[0]["ack_id"].upper(), batch[0]["ack_id"]]}
        assert await running.post(action, ids) == (200, {"success": True})
    assert await running.receive(wait=500) == []


@pytest.mark.parametrize("body", [{}, {"ack_ids": []}, {"ack_ids": ["x"]}, {"ack_ids": [7]}, {"ack_ids": "x"}, []])
async def test_bad_ack_ids(running: Puller, module_database: Database, body: object) -> None:
    """A request with a bad ack_id gets status 400, and acks nothing."""
    for action in ("ack", "nack"):
        status, answer = await running.post(action, body)
        assert status == 400 and set(answer) == {"summary"}


async def test_an_unknown_stream_is_404(running: Puller) -> None:
    summary = "Not found: No `consumer` found matching the provided ID or name"
    for action, body in (("receive", {"max_batch_size": 0}), ("ack", {}), ("nack", {})):
        assert await running.post(action, body, "nobody") == (404, {"summary": summary})


@pytest.mark.parametrize("path", ["/", "/api", "/api/sequin_streams", f"/api/sequin_streams/{STREAM}/peek", "/x/y"])
async def test_an_unknown_route_is_404(running: Puller, path: str) -> None:
    async with running.session.get(f"{running.url}{path}") as response:
        assert response.status == 404 and set(await response.json()) == {"summary"}


@pytest.mark.parametrize("header", [None, TOKEN, "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", "Bearer é"])
async def test_a_missing_or_wrong_token_is_401(
    running: Puller, bare: aiohttp.ClientSession, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with bare.get(f"{running.url}{RECEIVE}", headers=headers) as response:
        assert response.status == 401 and set(await response.json()) == {"summary"}


async def test_checks_come_in_sequins_order(running: Puller, bare: aiohttp.ClientSession) -> None:
    async def status(headers: dict[str, str], path: str = RECEIVE) -> int:
        async with bare.post(running.url + path, data=b"{}", headers=headers) as response:
            assert set(await response.json()) & {"summary", "data"}
            return response.status

    json_type = {"Content-Type": "application/json"}
    assert await status({"Accept": "text/html"}) == 406
    assert await status({"Accept": "application/json"}) == 401
    assert await status({**AUTH}) == 400
    assert await status({**AUTH, "Content-Type": "text/plain"}, "/api/sequin_streams/nobody/receive") == 400
    assert await status({**AUTH, **json_type}, "/api/sequin_streams/nobody/receive") == 404
    assert await status({**AUTH, **json_type}) == 200
    assert await status({**AUTH, "Content-Type": "application/json; charset=utf-8", "Accept": "*/*"}) == 200


async def test_a_get_needs_no_content_type(running: Puller, bare: aiohttp.ClientSession) -> None:
    async with bare.get(running.url + RECEIVE, headers=AUTH) as response:
        assert response.status == 200


async def test_health_and_metrics_need_no_token(running: Puller, bare: aiohttp.ClientSession) -> None:
    async with bare.get(f"{running.url}/health") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        body = await response.json()
    assert body["ok"] is True and body["state"] == "streaming"
    async with bare.get(f"{running.url}/livez") as response:
        assert (response.status, await response.json()) == (200, {"live": True, "stalled": {}})
    async with bare.get(f"{running.url}/readyz") as response:
        ready = {"ready": True, "missing": [], "dependencies": {"postgresql": None}}
        assert (response.status, await response.json()) == (200, ready)
    async with bare.get(f"{running.url}/metrics") as response:
        text = await response.text()
    for series in (
        f'delegator_relay_buffered_messages{{stream="{STREAM}"}}',
        f'delegator_relay_delivered_total{{stream="{STREAM}"}}',
        f'delegator_relay_connected{{stream="{STREAM}"}} 1.0',
        f'delegator_relay_slot_lag_bytes{{stream="{STREAM}"}}',
        f'delegator_relay_reconnects_total{{stream="{STREAM}"}}',
        f'delegator_relay_slot_recreated_total{{stream="{STREAM}"}}',
        'delegator_connection_up{dependency="postgresql"} 1.0',
    ):
        assert series in text


async def test_redelivery(database: Database) -> None:
    """A message without an ack returns after the timeout, under the same ack_id."""
    async with relay(database, visibility_timeout=0.3) as (_, puller):
        await enqueue(database, 1, 1)
        first = await puller.receive()
        began = time.monotonic()
        assert await puller.receive(wait=60_000) == first
        assert time.monotonic() - began > 0.2
        await puller.ack(first)
        assert await puller.receive(wait=600) == []


async def test_a_poller_that_went_away(database: Database) -> None:
    """A message that its poller did not take is visible at once."""
    async with relay(database) as (handle, puller):
        stream = handle.relay.streams[STREAM]
        gone = asyncio.create_task(puller.receive(wait=20_000))
        while not stream.pollers:
            await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.wait([gone])
        async with asyncio.timeout(60):
            while stream.pollers:
                await asyncio.sleep(0.01)
        await enqueue(database, 1, 1)
        assert await puller.drain() == ["j1"]


async def test_streams_of_queues(databases: object, make_database: object) -> None:
    """One relay serves a stream of its own for each queue."""
    database: Database = await make_database(queues=("default", "video"))  # type: ignore[operator]
    async with relay(database) as (_, puller):
        await enqueue(database, 1, 2)
        await enqueue(database, 3, 3, table="custom_task_queue_video")
        video = await puller.receive(stream="custom_task_queue_video")
        assert names(video) == ["j3"]
        assert video[0]["data"]["metadata"]["consumer"]["name"] == "custom_task_queue_video"
        await puller.ack(video, "custom_task_queue_video")
        assert await puller.drain() == ["j1", "j2"]


async def test_no_payload_in_the_stream(database: Database) -> None:
    """The record holds the job_id and the fencing token, whatever the size of the payload."""
    async with relay(database) as (_, puller):
        await enqueue(database, 1, 1, size=3_000_000)
        (message,) = await puller.receive()
        tokens = await execute(database, f"SELECT job_id, fencing_token FROM {STREAM}")
    record = message["data"]["record"]
    assert set(record) == {"job_id", "fencing_token"}
    assert (record["job_id"], record["fencing_token"]) == tokens[0]
    assert message["data"]["metadata"]["record_pks"] == ["j1"]


async def test_ack_before_the_answer(database: Database) -> None:
    """A message that is acked between its delivery and the answer is left out, and the answer stays valid."""
    async with relay(database) as (handle, puller):
        stream = handle.relay.streams[STREAM]
        await enqueue(database, 1, 2)
        await puller.has(2)
        first = await puller.receive()
        waiting = asyncio.create_task(puller.receive())
        while not stream.pollers:
            await asyncio.sleep(0.01)
        found = stream.find([message["ack_id"] for message in first])
        stream.nack(found)
        stream.ack(found[:1])
        assert names(await waiting) == ["j2"]
