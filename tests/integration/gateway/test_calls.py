"""What a worker with Temporal's own types gets and says: all of the call, whole failures, timeouts, refusals."""

from __future__ import annotations

from base64 import b64encode

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

from tests.integration.delegator.environment import Environment
from tests.integration.gateway.gateway_flows import Tells
from tests.integration.gateway.support import Caller


async def test_call(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A poll that asks for it gets what the caller has set beside the arguments."""
    options = {"start_to_close_timeout": 30.0, "heartbeat_timeout": 20.0, "attempts": 7.0}
    handle = await engine.start(Tells.run, "called", [], options, task_queue=task_queue)
    job = await caller.job("called", call=True)
    call = job["call"]
    assert 0 <= call.pop("waited_seconds") < 60
    assert call.pop("fencing_token") > 0
    assert call == {
        "namespace": engine.client.namespace,
        "workflow_type": "Tells",
        "task_queue": task_queue,
        "activity_id": None,
        "headers": {},
        "start_to_close_seconds": 30.0,
        "schedule_to_close_seconds": None,
        "heartbeat_seconds": 20.0,
        "left_seconds": None,
        "retry_policy": {
            "initial_interval_seconds": 0.01,
            "backoff_coefficient": 2.0,
            "maximum_interval_seconds": None,
            "maximum_attempts": 7,
            "non_retryable_error_types": [],
        },
        "priority": None,
        "codec_probe": None,
        "lost_attempts": 0,
        "task_token": None,
    }
    assert await caller.say("complete", job, result="told", by_signal=True) == "accepted"
    assert await engine.result(handle) == "told"


async def test_whole_failure(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A serialized failure arrives with its details and its cause; other bytes are refused."""
    handle = await engine.start(Tells.run, "whole", [], {}, task_queue=task_queue)
    job = await caller.job("whole")
    (answer,) = await caller.say_all("fail", [{"token": job["token"], "failure": "//8="}])
    assert (answer["status"], answer["code"]) == ("rejected", "bad-failure")
    failure = Failure(message="no money", cause=Failure(message="bank closed"))
    failure.application_failure_info.type = "Declined"
    failure.application_failure_info.non_retryable = True
    failure.application_failure_info.details.payloads.append(Payload(metadata={"encoding": b"json/plain"}, data=b"51"))
    failure.cause.application_failure_info.type = "Closed"
    data = b64encode(failure.SerializeToString()).decode()
    assert await caller.say("fail", job, failure=data) == "accepted"
    assert await engine.result(handle) == ["Declined", "no money", [51], True]


async def test_said_timeout(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A worker that finds a limit exceeded says so; the workflow gets Temporal's timeout."""
    handle = await engine.start(Tells.run, "late", [], {"attempts": 1.0}, task_queue=task_queue)
    job = await caller.job("late")
    assert await caller.say("heartbeat", job, details=["half"]) == "held"
    assert await caller.say("fail", job, timed_out="heartbeat") == "accepted"
    assert await engine.result(handle) == ["timed out", "HEARTBEAT", ["half"]]


async def test_last_details(engine: Environment, task_queue: str, caller: Caller) -> None:
    """The last heartbeat may come with the failure; the next attempt gets its details."""
    handle = await engine.start(Tells.run, "resumes", [], {}, task_queue=task_queue)
    payload = {"metadata": {"encoding": b64encode(b"json/plain").decode()}, "data": b64encode(b'"most"').decode()}
    assert await caller.say("fail", await caller.job("resumes"), type="Flaky", heartbeat=[payload]) == "accepted"
    again = await caller.job("resumes")
    assert again["heartbeat_details"] == ["most"]
    assert await caller.say("complete", again, result="resumed") == "accepted"
    assert await engine.result(handle) == "resumed"


async def test_refused_job(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A job that a worker can't read for want of a key is offered again, and the attempt does not count."""
    handle = await engine.start(Tells.run, "refused", [], {"attempts": 1.0}, task_queue=task_queue)
    job = await caller.job("refused")
    assert await caller.say("fail", job, type="Locked", refused="locked") == "accepted"
    again = await caller.job("refused")
    assert (again["job_id"], again["attempt"]) == (job["job_id"], 1)
    assert await caller.say("complete", again, result="opened") == "accepted"
    assert await engine.result(handle) == "opened"
