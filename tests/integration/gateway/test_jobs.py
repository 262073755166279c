"""Workflows delegate to workers that speak HTTP only."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.delegator.environment import Environment, eventually
from tests.integration.gateway.gateway_flows import Adds, Many, Sum, Tells
from tests.integration.gateway.support import Caller, polls_wait


async def test_typed_result(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A workflow gets the typed result of a job that was polled and completed over HTTP."""
    handle = await engine.start(Adds.run, 3, "é", task_queue=task_queue)
    job = await caller.job("add")
    assert (job["type"], job["attempt"], job["args"]) == ("add", 1, [3, {"words": ["é"]}])
    assert (job["workflow_id"], job["payloads"], job["timeout_seconds"]) == (handle.id, None, None)
    assert await caller.say("complete", job, result={"value": 4, "words": ["é", "ß"]}) == "accepted"
    assert await engine.result(handle) == Sum(4, ["é", "ß"])
    assert await caller.say("complete", job, result=5) == "lost"


async def test_failed_attempts(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A failed attempt is retried with the details of its last heartbeat; a final failure arrives as it was said."""
    handle = await engine.start(Tells.run, "fails", [], {}, task_queue=task_queue)
    job = await caller.job("fails")
    assert await caller.say("heartbeat", job, details=["page", 3]) == "held"
    assert await caller.say("fail", job, type="Flaky", message="again") == "accepted"
    again = await caller.job("fails")
    assert (again["job_id"], again["attempt"], again["heartbeat_details"]) == (job["job_id"], 2, ["page", 3])
    said = {"type": "Declined", "message": "no \N{EURO SIGN}", "details": [{"code": 51}], "non_retryable": True}
    assert await caller.say("fail", again, **said) == "accepted"
    assert await engine.result(handle) == ["Declined", "no \N{EURO SIGN}", [{"code": 51}], True]


async def test_attempts_exhausted(engine: Environment, task_queue: str, caller: Caller) -> None:
    """The retry policy counts the attempts of HTTP workers; a job without more of them is a dead letter."""
    handle = await engine.start(Tells.run, "exhausts", [], {"attempts": 2}, task_queue=task_queue)
    for _ in range(2):
        await caller.say("fail", await caller.job("exhausts"), type="Flaky")
    assert (await engine.result(handle))[0] == "Flaky"
    assert [letter.reason for letter in await engine.dead_letters(handle.id)] == ["attempts_exhausted"]


async def test_asked_delay(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A worker says when the next attempt is due."""
    handle = await engine.start(Tells.run, "later", [], {}, task_queue=task_queue)
    await caller.say("fail", await caller.job("later"), next_retry_delay_seconds=3000)
    waits = await engine.backs_off(handle.id)
    assert waits.retry_in is not None
    assert 2900 < waits.retry_in.total_seconds() < 3100
    await handle.terminate()


async def test_cancellation(engine: Environment, task_queue: str, caller: Caller) -> None:
    """The reply to a heartbeat tells of the cancellation; the workflow hears that the job was cancelled."""
    handle = await engine.start(Tells.run, "cancels", [], {"inline_wait": 0}, task_queue=task_queue)
    job = await caller.job("cancels")
    (answer,) = await caller.say_all("fail", [{"token": job["token"], "canceled": True}])
    assert (answer["status"], answer["code"]) == ("rejected", "not-canceled")
    await handle.cancel()

    async def told() -> bool:
        return await caller.say("heartbeat", job) == "cancel"

    await eventually(told)
    assert await caller.say("fail", job, canceled=True) == "accepted"
    assert await engine.result(handle) == ["CancelledError", "cancelled", []]


async def test_silent_worker(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A worker that is silent for longer than it said loses its job; what it says late changes nothing."""
    handle = await engine.start(Tells.run, "paused", [], {}, task_queue=task_queue)
    job = await caller.job("paused", lease_seconds=1)
    again = await caller.job("paused")
    assert (again["job_id"], again["attempt"]) == (job["job_id"], 2)
    assert await caller.say("heartbeat", job) == "lost"
    assert await caller.say("complete", job, result="late") == "lost"
    assert await caller.say("fail", job, non_retryable=True) == "lost"
    assert await caller.say("release", job) == "lost"
    assert await caller.say("complete", again, result="in time") == "accepted"
    assert await engine.result(handle) == "in time"


async def test_heartbeats_keep_it(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A job lives as long as its worker's heartbeats, and no longer than they say."""
    handle = await engine.start(Tells.run, "beats", [], {}, task_queue=task_queue)
    lease_seconds = 4  # a machine that is busy with other work may stall for seconds
    job = await caller.job("beats", lease_seconds=lease_seconds)
    for _ in range(lease_seconds + 1):
        assert await caller.say("heartbeat", job, lease_seconds=lease_seconds) == "held"
        await asyncio.sleep(1)
    assert await caller.say("extend", job, lease_seconds=600) == "held"
    await asyncio.sleep(lease_seconds + 0.5)
    assert await caller.say("complete", job, result="kept") == "accepted"
    assert await engine.result(handle) == "kept"


async def test_released(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A released job goes to another worker, and the attempt does not count."""
    handle = await engine.start(Tells.run, "released", [], {}, task_queue=task_queue)
    job = await caller.job("released")
    assert await caller.say("release", job) == "accepted"
    again = await caller.job("released")
    assert (again["job_id"], again["attempt"]) == (job["job_id"], 1)
    assert again["token"] != job["token"]
    await caller.say("complete", again, result=None)
    assert await engine.result(handle) is None


async def test_start_to_close(engine: Environment, task_queue: str, caller: Caller) -> None:
    """An attempt ends at its start-to-close timeout, whatever its heartbeats say."""
    options = {"start_to_close_timeout": 1.0, "attempts": 1.0}
    handle = await engine.start(Tells.run, "slow", [], options, task_queue=task_queue)
    job = await caller.job("slow")
    assert 0 < job["timeout_seconds"] <= 1
    assert await caller.say("heartbeat", job, details=["half"]) == "held"
    assert await engine.result(handle) == ["timed out", "START_TO_CLOSE", ["half"]]
    assert await caller.say("heartbeat", job) == "lost"


async def test_heartbeat_timeout(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A job's own heartbeat timeout limits what a worker asks for."""
    options = {"heartbeat_timeout": 1.0, "attempts": 1.0}
    handle = await engine.start(Tells.run, "silent", [], options, task_queue=task_queue)
    job = await caller.job("silent", lease_seconds=600)
    assert job["lease_seconds"] == 1
    assert (await engine.result(handle))[:2] == ["timed out", "HEARTBEAT"]


async def test_batches(engine: Environment, task_queue: str, caller: Caller) -> None:
    """One request takes many jobs, and one request ends them; each entry is answered by itself."""
    handle = await engine.start(Many.run, "many", 40, task_queue=task_queue)
    jobs: list[Any] = []
    while len(jobs) < 40:
        jobs += await caller.poll("many", max_jobs=100)
    wrong = [{"token": "bm8", "result": 1}, {"token": "\N{EURO SIGN}"}]
    right = [{"token": job["token"], "result": job["args"][0] * 2} for job in jobs]
    answers = await caller.say_all("complete", [*wrong, *right])
    assert [answer["status"] for answer in answers] == ["rejected"] * 2 + ["accepted"] * 40
    assert answers[0]["code"] == "bad-token"
    assert await engine.result(handle) == [number * 2 for number in range(40)]


async def test_own_types(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A worker gets jobs of its types only, though others wait in front of them."""
    first = await engine.start(Tells.run, "left", [], {}, task_queue=task_queue)
    for_right = asyncio.create_task(caller.job("right"))
    second = await engine.start(Tells.run, "right", [], {}, task_queue=task_queue)
    await caller.say("complete", await for_right, result="right")
    assert await engine.result(second) == "right"
    await caller.say("complete", await caller.job("left", "right"), result="left")
    assert await engine.result(first) == "left"


async def test_worker_goes_away(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A worker that goes away while it waits gets no job; the next one gets it, as its first attempt."""
    leaving = asyncio.create_task(caller.poll("stays"))
    await polls_wait(caller.session, caller.url)
    leaving.cancel()
    await polls_wait(caller.session, caller.url, 0)
    handle = await engine.start(Tells.run, "stays", [], {}, task_queue=task_queue)
    job = await caller.job("stays")
    assert job["attempt"] == 1
    await caller.say("complete", job, result="stayed")
    assert await engine.result(handle) == "stayed"
