"""With an encryption codec the table, the stream, the history and the logs hold nothing readable."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHandle
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from delegator.relay import RelayOptions, running_relay
from tests.integration.delegator import flows
from tests.integration.delegator.conftest import StartEngine
from tests.integration.delegator.environment import PATIENT, SIGNALLED, Environment, eventually

SECRET = "correct-horse-battery-staple"
CONVERTER = "tests.integration.delegator.encryption:converter"
WAYS = ["delegate", "execute_activity"]


@pytest.fixture(scope="module")
async def encrypted_engine(start_engine: StartEngine) -> AsyncIterator[Environment]:
    async with start_engine(data_converter=CONVERTER) as engine:
        yield engine
        await engine.nothing_left()


@pytest.fixture(scope="module")
async def spy(encrypted_engine: Environment) -> AsyncIterator[str]:
    """Where a relay of its own answers for the same stream."""
    settings = encrypted_engine.settings
    options = RelayOptions.from_settings(settings, port=0)
    async with running_relay(dataclasses.replace(options, slot=f"{settings.slot}_spy", token=None)) as relay:
        yield f"{relay.url}/api/sequin_streams/custom_task_queue/receive"


@pytest.fixture(scope="module", params=["inline", "signal", "activity worker"])
async def encrypted_queue(request: pytest.FixtureRequest, encrypted_engine: Environment) -> AsyncIterator[str]:
    if request.param == "activity worker":
        async with encrypted_engine.activity_worker() as task_queue:
            yield task_queue
    else:
        options = PATIENT if request.param == "inline" else SIGNALLED
        async with encrypted_engine.worker(options, intercept=True) as task_queue:
            yield task_queue


def ways(task_queue_kind: str) -> list[str]:
    return ["execute_activity"] if task_queue_kind == "activity worker" else WAYS


def assert_unreadable(*things: Any) -> None:
    for thing in things:
        seen = thing if isinstance(thing, bytes) else str(thing).encode()
        for form in (SECRET.encode(), SECRET.encode().hex().encode()):
            assert form not in seen, "the secret is readable"


async def assert_history_unreadable(handle: WorkflowHandle[Any, Any]) -> None:
    for event in (await handle.fetch_history()).events:
        assert_unreadable(event.SerializeToString())


async def test_check_finds_secrets():
    """The check that these tests use fails on an unencrypted secret, as text and as hexadecimal digits."""
    with pytest.raises(AssertionError):
        assert_unreadable({"input": "\\x" + SECRET.encode().hex()})
    with pytest.raises(AssertionError):
        assert_unreadable({"input": SECRET.encode()})


async def test_retry_is_encrypted(encrypted_engine: Environment, encrypted_queue: str, request: pytest.FixtureRequest):
    """Arguments, heartbeats and results are encrypted at rest and in the history, also across a retry."""
    engine = encrypted_engine
    for way in ways(request.node.callspec.params["encrypted_queue"]):
        workflow_id = f"secret by {way} {encrypted_queue}"
        with engine.held(workflow_id):
            handle = await engine.start(
                flows.CallsOne.run, way, "secret_retry", [SECRET], {}, id=workflow_id, task_queue=encrypted_queue
            )
            await engine.noted(workflow_id, "started", 3)  # the second attempt waits
            assert_unreadable(await engine.stored())
        assert await engine.result(handle) == f"{SECRET} and ['{SECRET}']"
        assert_unreadable(await engine.stored())
        await assert_history_unreadable(handle)


@pytest.mark.postgres_only
async def test_row_and_stream_are_encrypted(encrypted_engine: Environment, encrypted_queue: str, spy: str):
    """The row holds encrypted payloads only; the stream holds the job_id and the fencing token only."""
    engine = encrypted_engine
    workflow_id = f"row of {encrypted_queue}"
    with engine.held(workflow_id):
        handle = await engine.start(
            flows.CallsOne.run,
            *("execute_activity", "secret_retry", [SECRET], {}),
            id=workflow_id,
            task_queue=encrypted_queue,
        )
        await engine.noted(workflow_id, "started", 3)
        (row,) = await engine.rows("workflow_id = %s", workflow_id)
        assert row["input"] and row["heartbeat_details"]
        assert_unreadable(row)
    await engine.result(handle)
    messages = await streamed(spy)
    assert all(set(message["data"]["record"]) == {"job_id", "fencing_token"} for message in messages)
    assert_unreadable(messages)


class Stamped(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> Any:
        header = Payload(metadata={"encoding": b"binary/plain"}, data=SECRET.encode())
        return super().start_activity(dataclasses.replace(input, headers={**input.headers, "user": header}))


class StampedInbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(Stamped(outbound))


class Stamping(Interceptor):
    """Gives each activity a header."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return StampedInbound


@pytest.mark.postgres_only
async def test_headers_are_encrypted(encrypted_engine: Environment):
    """Headers are unreadable in the row, whatever the client's `header_codec_behavior` is."""
    engine = encrypted_engine
    async with engine.worker(SIGNALLED, intercept=True, interceptors=[Stamping()]) as task_queue:
        workflow_id = "stamped"
        with engine.held(workflow_id):
            handle = await engine.start(
                flows.CallsOne.run,
                *("execute_activity", "secret_retry", ["a"], {}),
                id=workflow_id,
                task_queue=task_queue,
            )
            await engine.noted(workflow_id, "started", 3)
            (row,) = await engine.rows("workflow_id = %s", workflow_id)
            assert row["header"]
            assert_unreadable(row)
        assert await engine.result(handle) == "a and ['a']"


async def test_failures(encrypted_engine: Environment, encrypted_queue: str, request: pytest.FixtureRequest):
    engine = encrypted_engine
    for way in ways(request.node.callspec.params["encrypted_queue"]):
        handle = await engine.start(flows.Fails.run, way, "secret_failure", [SECRET], 0, [], task_queue=encrypted_queue)
        failure = await engine.result(handle)
        assert (failure["type"], failure["cause_message"], failure["details"]) == (
            "Refused",
            f"can't use {SECRET}",
            [SECRET],
        )
        await assert_history_unreadable(handle)
        exhausted = await engine.start(
            flows.Fails.run, way, "secret_retry", [SECRET], 1, [], task_queue=encrypted_queue
        )
        assert (await engine.result(exhausted))["details"] == [SECRET]
        await assert_history_unreadable(exhausted)
    assert_unreadable(await engine.stored())


async def test_fan_out(encrypted_engine: Environment, encrypted_queue: str, request: pytest.FixtureRequest):
    for way in ways(request.node.callspec.params["encrypted_queue"]):
        assert await encrypted_engine.execute(flows.Many.run, way, 200, task_queue=encrypted_queue)


async def streamed(url: str) -> list[Any]:
    """Everything the stream holds by now."""
    messages: list[Any] = []

    async def some() -> bool:
        async with session.post(url, json={"max_batch_size": 1000, "wait_for": 1000}) as response:
            messages.extend((await response.json())["data"])
        return bool(messages)

    async with aiohttp.ClientSession() as session:
        await eventually(some)
    return messages
