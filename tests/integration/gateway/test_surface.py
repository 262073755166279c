"""What a gateway refuses, and what it says then."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.gateway.openapi import document
from delegator.gateway.options import GatewayOptions
from delegator.operating.canary_type import CANARY
from tests.integration.delegator.environment import Environment, eventually
from tests.integration.gateway.gateway_flows import Tells
from tests.integration.gateway.support import Caller, RunningGateway, gateway_process, polls_wait, running_gateway
from tests.support.certificates import Authority

ALL = "all-of-it-12345"
SOME = "some-types-12345"


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text(f"{ALL}  # everything\n{SOME} queues=default types=open-*,public\n")
    return file


@pytest.fixture(scope="module")
async def guarded(gateway_engine: Environment, token_file: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(gateway_engine, token_file=token_file, max_polls=1, max_body_bytes=2000) as running:
        yield running


async def posted(url: str, token: str | None, data: bytes, **headers: str) -> tuple[int, str, Any, Any]:
    """Return the status, the content type, the body and the headers of a reply to a poll."""
    given = {"Content-Type": "application/json", **headers}
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=given) as reply:
        return reply.status, reply.content_type, await reply.json(content_type=None), reply.headers


@pytest.mark.parametrize(
    ("path", "token", "body", "headers", "status", "code"),
    [
        ("poll", None, b"{}", {}, 401, "unauthorized"),
        ("poll", "wrong-12345", b"{}", {}, 401, "unauthorized"),
        ("poll", ALL, b"{", {}, 400, "invalid-request"),
        ("poll", ALL, b'{"queue": "default"}', {}, 400, "invalid-request"),
        ("poll", ALL, b'{"queue": "default", "types": []}', {}, 400, "invalid-request"),
        ("poll", ALL, b'{"queue": "default", "types": ["a\\u0000"]}', {}, 400, "invalid-request"),
        ("poll", ALL, b'{"queue": "default", "types": ["a"], "wait": 1}', {}, 400, "invalid-request"),
        ("poll", ALL, b'{"queue": "default", "types": ["a\xff"]}', {}, 400, "invalid-request"),
        ("complete", ALL, b'{"jobs": [{"token": "a", "result": }]}', {}, 400, "invalid-request"),
        ("poll", ALL, b'{"queue": "nowhere", "types": ["a"]}', {}, 404, "unknown-queue"),
        ("poll", SOME, b'{"queue": "other", "types": ["public"]}', {}, 403, "forbidden"),
        ("poll", SOME, b'{"queue": "default", "types": ["public", "secret"]}', {}, 403, "forbidden"),
        ("poll", ALL, b"a=b", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        ("poll", ALL, b" " * 3000, {}, 413, "body-too-large"),
        ("nothing", ALL, b"{}", {}, 404, "not-found"),
    ],
)
async def test_refused(
    guarded: RunningGateway, path: str, token: str | None, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """A request that can't be taken is answered with a problem that has a stable code."""
    got, content_type, said, _ = await posted(f"{guarded.url}/v1/{path}", token, body, **headers)
    assert (got, content_type, said["code"]) == (status, "application/problem+json", code)
    assert said["type"] == f"urn:temporal-delegator:{code}"
    assert said["status"] == status


async def test_method(guarded: RunningGateway) -> None:
    """Another method than POST is answered with the one that is allowed."""
    async with aiohttp.ClientSession() as session, session.get(f"{guarded.url}/v1/poll") as reply:
        assert (reply.status, reply.headers["Allow"]) == (405, "POST")
        problem = await reply.json(content_type=None)
        assert (problem["code"], problem["detail"]) == ("method-not-allowed", "send POST, not GET")


async def test_too_many_polls(guarded: RunningGateway) -> None:
    """More polls than may wait are told when to come back."""
    async with aiohttp.ClientSession() as session:
        caller = Caller(session, guarded.url, ALL)
        first = asyncio.create_task(caller.poll("waits"))
        await polls_wait(session, guarded.url)
        reply = await caller.post("poll", queue="default", types=["waits"])
        assert (reply.status, reply.body["code"]) == (429, "too-many-requests")
        assert reply.headers["Retry-After"] == "1"
        first.cancel()


async def test_scope(engine: Environment, task_queue: str, guarded: RunningGateway, token_file: Path) -> None:
    """A token can't end a job of a type that it is not for; the file is read again when it has changed."""
    handle = await engine.start(Tells.run, "secret", [], {}, task_queue=task_queue)
    async with aiohttp.ClientSession() as session:
        every, some = Caller(session, guarded.url, ALL), Caller(session, guarded.url, SOME)
        job = await every.job("secret")
        for route in ("heartbeat", "extend", "complete", "fail", "release"):
            (answer,) = await some.say_all(route, [{"token": job["token"]}])
            assert (route, answer["status"], answer["code"]) == (route, "rejected", "forbidden")
        token_file.write_text(token_file.read_text().replace("public", "public,secret"))

        async def accepted() -> bool:
            return await some.say("complete", job, result=1) == "accepted"

        await eventually(accepted)
    assert await engine.result(handle) == 1


async def test_openapi(gateway: RunningGateway) -> None:
    """A gateway shows the document of its protocol, without a token."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/v1/openapi.json") as reply:
        assert await reply.json() == document()


async def test_drain(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A gateway that is asked to stop answers its polls at once; what its workers hold goes on at another one."""
    handle = await engine.start(Tells.run, "drains", [], {}, task_queue=task_queue)
    async with running_gateway(engine) as leaving:
        there = caller.on(leaving.url)
        job = await there.job("drains")
        waiting = asyncio.create_task(there.poll("nothing", wait_seconds=60))
        await polls_wait(caller.session, leaving.url)
        leaving.stop.set()
        assert await waiting == []
        await leaving.ended
    assert await caller.say("complete", job, result="done") == "accepted"
    assert await engine.result(handle) == "done"


async def test_killed_gateway(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A gateway is killed while workers hold jobs and others wait: another one goes on, and nothing is lost."""
    async with gateway_process(engine) as killed:
        there = caller.on(killed.url)
        handle = await engine.start(Tells.run, "outlives", [], {}, task_queue=task_queue)
        job = await there.job("outlives", lease_seconds=2)
        waiting = asyncio.create_task(there.poll("outlives", wait_seconds=60))
        killed.process.kill()
        await killed.process.wait()
        with pytest.raises(aiohttp.ClientError):
            await waiting
    for _ in range(6):
        assert await caller.say("heartbeat", job, lease_seconds=2) == "held"
        await asyncio.sleep(0.5)
    second = await engine.start(Tells.run, "outlives", [], {}, task_queue=task_queue)
    await caller.say("complete", await caller.job("outlives"), result="second")
    assert await caller.say("complete", job, result="first") == "accepted"
    assert await engine.result(handle) == "first"
    assert await engine.result(second) == "second"


async def test_tls(engine: Environment, tmp_path: Path) -> None:
    """A gateway serves TLS with the certificate that it is given."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.certificate))
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        running_gateway(engine, tls=authority.issue("gateway")) as running,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        assert running.url.startswith("https://")
        assert await Caller(session, running.url).poll("nothing", wait_seconds=0) == []


async def test_canary(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A gateway whose workers wait answers the job by which `delegator doctor` tries the whole path."""
    waiting = asyncio.create_task(caller.poll("anything"))
    await polls_wait(caller.session, caller.url)
    assert await engine.execute(Tells.run, CANARY, ["la"], {}, task_queue=task_queue) == "la"
    waiting.cancel()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"queues": ("nowhere",)}, "--queue nowhere: not a declared queue"),
        ({"queues": ("default",), "max_polls": 0}, "--max-polls 0: must be from 1"),
        ({"queues": ("default",), "host": "0.0.0.0"}, "give --token-file"),
    ],
)
def test_wrong_options(options: dict[str, Any], complaint: str) -> None:
    """An option that can't be used is refused by its name."""
    with pytest.raises(ConfigurationError, match=complaint):
        GatewayOptions(**options).validate(Settings())


def test_ordered_queue() -> None:
    """An ordered queue is refused: a gateway does not keep its order."""
    settings = Settings(queues=("default",), ordered_queues=("default",))
    with pytest.raises(ConfigurationError, match="--queue default: it is ordered"):
        GatewayOptions(queues=("default",)).validate(settings)
