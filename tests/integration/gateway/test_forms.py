"""Jobs in other forms: encrypted payloads, payloads that are not JSON, Temporal's activity tasks."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import DataConverter

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator import encryption
from tests.integration.delegator.environment import BRIEF, Environment, environment, eventually
from tests.integration.gateway import gateway_flows
from tests.integration.gateway.gateway_flows import Ordinary, SendsBytes, Tells
from tests.integration.gateway.support import Caller, RunningGateway, running_gateway
from tests.support import Databases

CONVERTER = "tests.integration.delegator.encryption:converter"
SECRET = "only-for-the-worker"


@pytest.fixture(scope="module")
async def encrypted(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, data_converter=CONVERTER, http_worker=False) as engine:
        yield engine


@pytest.fixture(scope="module", params=["inline", "signal"])
async def encrypted_queue(encrypted: Environment, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The task queue of a worker that gets outcomes inline, or by signal."""
    options = () if request.param == "inline" else (BRIEF,)
    async with encrypted.worker(*options, workflows=gateway_flows.ALL) as name:
        yield name


@pytest.fixture(scope="module")
async def with_keys(encrypted: Environment) -> AsyncIterator[RunningGateway]:
    async with running_gateway(encrypted) as running:
        yield running


@pytest.fixture(scope="module")
async def without_keys(encrypted: Environment) -> AsyncIterator[RunningGateway]:
    client = Client(**{**encrypted.client.config(), "data_converter": DataConverter.default})
    async with running_gateway(encrypted, client) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def decrypted(payloads: list[Any]) -> list[bytes]:
    """Return the data of payloads, as a worker with the keys reads them."""
    sealed = [
        Payload(
            metadata={name: b64decode(value) for name, value in one["metadata"].items()}, data=b64decode(one["data"])
        )
        for one in payloads
    ]
    return [payload.data for payload in await encryption.EncryptionCodec().decode(sealed)]


async def sealed(data: bytes) -> dict[str, Any]:
    """Return a payload as a worker with the keys sends it."""
    (payload,) = await encryption.EncryptionCodec().encode([Payload(metadata={"encoding": b"json/plain"}, data=data)])
    metadata = {name: b64encode(value).decode() for name, value in payload.metadata.items()}
    return {"metadata": metadata, "data": b64encode(payload.data).decode()}


async def test_gateway_with_keys(
    encrypted: Environment, encrypted_queue: str, with_keys: RunningGateway, session: aiohttp.ClientSession
) -> None:
    """A gateway with keys gives workers plain JSON, and the table holds nothing readable."""
    caller = Caller(session, with_keys.url)
    handle = await encrypted.start(Tells.run, "opened", [SECRET], {}, task_queue=encrypted_queue)
    job = await caller.job("opened")
    assert job["args"] == [SECRET]
    assert await caller.say("heartbeat", job, details=[SECRET]) == "held"
    assert SECRET not in repr(await encrypted.rows())
    assert await caller.say("fail", job, message=SECRET) == "accepted"
    again = await caller.job("opened")
    assert again["heartbeat_details"] == [SECRET]
    assert SECRET not in repr(await encrypted.rows())
    assert await caller.say("complete", again, result=SECRET) == "accepted"
    assert await encrypted.result(handle) == SECRET
    await encrypted.nothing_left()


async def test_gateway_without_keys(
    encrypted: Environment, encrypted_queue: str, without_keys: RunningGateway, session: aiohttp.ClientSession
) -> None:
    """A worker with the keys needs none at the gateway; the result arrives inline as well as by signal."""
    caller = Caller(session, without_keys.url)
    handle = await encrypted.start(Tells.run, "sealed", [SECRET], {}, task_queue=encrypted_queue)
    job = await caller.job("sealed", payloads="raw")
    assert job["args"] is None
    assert await decrypted(job["payloads"]) == [b'"%s"' % SECRET.encode()]
    (answer,) = await caller.say_all("complete", [{"token": job["token"], "result": SECRET}])
    assert (answer["status"], answer["code"]) == ("rejected", "unreadable")
    await asyncio.sleep(0.1)  # longer than the brief inline wait, so that the outcome goes by signal there
    assert await caller.say("complete", job, payloads=[await sealed(b'"returned"')]) == "accepted"
    assert await encrypted.result(handle) == "returned"
    await encrypted.nothing_left()


async def test_bytes(engine: Environment, task_queue: str, caller: Caller) -> None:
    """Arguments that are not JSON come as payloads, and a result may be such a payload."""
    handle = await engine.start(SendsBytes.run, task_queue=task_queue)
    job = await caller.job("bytes")
    assert job["args"] is None
    (payload,) = job["payloads"]
    assert b64decode(payload["data"]) == b"\x00\xff"
    reversed_payload = {**payload, "data": b64encode(b"\xff\x00").decode()}
    assert await caller.say("complete", job, payloads=[reversed_payload]) == "accepted"
    assert await engine.result(handle) == "ff00"


async def test_activity_tasks(engine: Environment, caller: Caller) -> None:
    """Jobs of Temporal's activity tasks are run over HTTP, too, and hear of their cancellation from Temporal."""
    async with engine.activity_worker(workflows=gateway_flows.ALL) as task_queue:
        handle = await engine.start(Ordinary.run, "double", [1], task_queue=task_queue)
        job = await caller.job("double")
        assert await caller.say("heartbeat", job, details=["half"]) == "held"
        assert await caller.say("complete", job, result=2) == "accepted"
        assert await engine.result(handle) == 2
        handle = await engine.start(Ordinary.run, "double", [1], task_queue=task_queue)
        job = await caller.job("double")
        await handle.cancel()

        async def told() -> bool:
            return await caller.say("heartbeat", job) == "cancel"

        await eventually(told)
        assert await caller.say("fail", job, canceled=True) == "accepted"
        assert await engine.result(handle) == "CancelledError"
