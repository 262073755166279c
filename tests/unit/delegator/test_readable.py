"""What people read of the frames in a history."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.exceptions import ApplicationError

from delegator.wire.frames import to_payload
from delegator.wire.outcomes import Outcome, OutcomeStatus, pack_reply, pack_signal
from delegator.wire.pending import pack_job_ids
from delegator.wire.readable import readable, restored
from delegator.wire.requests import Asked

VALUES = DataConverter.default.payload_converter


def completed(*values: Any) -> Outcome:
    body = Payloads(payloads=VALUES.to_payloads(values)).SerializeToString()
    return Outcome(OutcomeStatus.COMPLETED, body)


def shown(frame: bytes) -> Any:
    payload = readable(to_payload(frame))
    assert restored(payload) == to_payload(frame)
    return json.loads(payload.data)


def test_reply() -> None:
    """The reply to an enqueue request names each job's type, and its result or that it waits."""
    frame = pack_reply("run", {0: completed({"paid": 7}), 2: completed(None)}, Asked([("charge", 2), ("ship", 1)]))
    assert shown(frame) == {
        "delegator": "reply to an enqueue request",
        "jobs": 3,
        "statuses": {"completed": 2, "waiting": 1},
        "first": [
            {"type": "charge", "status": "completed", "result": {"paid": 7}},
            {"type": "charge", "status": "waiting"},
            {"type": "ship", "status": "completed", "result": None},
        ],
    }


def test_failure() -> None:
    """A failure is shown with its message, also one that encrypts it: the codec server has decoded the payload."""
    converter = DefaultFailureConverterWithEncodedAttributes()
    failure = Failure()
    converter.to_failure(ApplicationError("no money", {"left": 3}, type="Poor", non_retryable=True), VALUES, failure)
    frame = pack_signal([("run:1", Outcome(OutcomeStatus.FAILED, failure.SerializeToString()))])
    (job,) = shown(frame)["first"]
    expected = {"message": "no money", "type": "Poor", "non_retryable": True, "details": [{"left": 3}]}
    assert (job["job_id"], job["status"], job["failure"]) == ("run:1", "failed", expected)


def test_look() -> None:
    assert shown(pack_job_ids(["run:1"]))["first"] == ["run:1"]


def test_much() -> None:
    """Of many jobs the first hundred are shown; of large results only the size. What is no JSON is not lost, either."""
    many = shown(pack_signal([(f"run:{number}", completed(number)) for number in range(300)]))
    assert (many["jobs"], len(many["first"])) == (300, 100)
    frame = pack_signal([("run:1", completed("x" * 300_000)), ("run:2", completed(float("nan"), b"\xff"))])
    large, other = shown(frame)["first"]
    assert large["result"]["bytes"] > 300_000
    assert other["result"]["bytes"] > 0
    (alone,) = shown(pack_signal([("run:2", completed(float("nan"), b"\xff"))]))["first"]
    assert alone["result"] == ["NaN", {"encoding": "binary/plain", "bytes": 1}]


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\x00\x00\x02{}", b"\xff" * 40, b"a user's own bytes", pack_signal([("run:1", completed(1))])[:-1]],
)
def test_other_bytes(data: bytes) -> None:
    """Bytes of users are left alone, and so are payloads of other encodings."""
    for payload in (to_payload(data), Payload(metadata={"encoding": b"json/plain"}, data=data)):
        assert readable(payload) == restored(payload) == payload
