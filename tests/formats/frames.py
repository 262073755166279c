"""One frame of every kind, and the values that it holds. Values of a released version stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.api.failure.v1 import Failure

from delegator.wire.outcomes import Outcome, OutcomeStatus, Reply, pack_reply, pack_signal, unpack_reply, unpack_signal
from delegator.wire.requests import (
    Asked,
    EnqueueRequest,
    JobRequest,
    JobSpec,
    pack_cancel,
    pack_enqueue,
    unpack_cancel,
    unpack_enqueue,
)


@dataclass(frozen=True)
class Frame:
    """A kind of frame."""

    value: Any
    """What it holds."""
    pack: Callable[[Any], bytes]
    """Write it."""
    unpack: Callable[[bytes], Any]
    """Read it, in a form that can be compared."""


def _payloads(*values: bytes) -> bytes:
    payloads = [Payload(metadata={"encoding": b"json/plain"}, data=value) for value in values]
    return Payloads(payloads=payloads).SerializeToString()


OPTIONS = {
    "start_to_close_ms": 30_000,
    "schedule_to_close_ms": 600_000,
    "schedule_to_start_ms": 60_000,
    "heartbeat_ms": 5_000,
    "inline_wait_ms": 0,
    "retry": {
        "initial_interval_ms": 10,
        "backoff_coefficient": 1.5,
        "maximum_interval_ms": 1_000,
        "maximum_attempts": 4,
        "non_retryable_error_types": ["Refused"],
    },
}
_PLAIN = JobSpec("double", "default", None)
_FULL = JobSpec("describe", "other", OPTIONS)
_HEADER = Header(fields={"trace": Payload(metadata={"encoding": b"json/plain"}, data=b'"abc"')}).SerializeToString()
_REQUEST = EnqueueRequest(
    [
        JobRequest(_PLAIN, _payloads(b"1"), b"", None),
        JobRequest(_FULL, _payloads(b'"\xc3\xa9"', b"null"), _HEADER, "order-7"),
        JobRequest(_FULL, b"", b"", None),
    ],
    [3, 4, 9],
    1_000_000,
)
_ONE_SPEC = EnqueueRequest([JobRequest(_PLAIN, _payloads(b"1"), b"", None)] * 2, range(5, 7), 65_536)
_WITH_CALLS = EnqueueRequest(
    [JobRequest(_PLAIN, _payloads(b"1"), b"", None)] * 3, range(3), 65_536, None, [(1, 1), (2, 1)]
)
_FAILURE = Failure(message="no", source="PythonSDK").SerializeToString()
_OUTCOMES = [
    Outcome(OutcomeStatus.COMPLETED, _payloads(b"2")),
    Outcome(OutcomeStatus.FAILED, _FAILURE),
    Outcome(OutcomeStatus.CANCELED, _FAILURE),
]


def _request(request: EnqueueRequest) -> EnqueueRequest:
    return replace(request, jobs=list(request.jobs), sequences=list(request.sequences))


def _pack_reply(reply: Reply) -> bytes:
    known = {position: outcome for position, outcome in enumerate(reply.outcomes) if outcome is not None}
    return pack_reply(reply.id_prefix, known, reply.asked)


def _unpack_request(frame: bytes) -> EnqueueRequest:
    return _request(unpack_enqueue(frame))


FRAMES = {
    "enqueue": Frame(_request(_REQUEST), pack_enqueue, _unpack_request),
    "enqueue-one-spec": Frame(_request(_ONE_SPEC), pack_enqueue, _unpack_request),
    "enqueue-with-calls": Frame(_request(_WITH_CALLS), pack_enqueue, _unpack_request),
    "cancel": Frame([("default", "run:1"), ("other", "order-7")], pack_cancel, unpack_cancel),
    "reply": Frame(
        Reply("run", [_OUTCOMES[0], None, _OUTCOMES[1], _OUTCOMES[2]], Asked([("double", 1), ("describe", 3)])),
        _pack_reply,
        unpack_reply,
    ),
    "reply-that-says-what-was-asked": Frame(
        Reply(
            "run",
            [None, None, None, None],
            Asked([("double", 1), ("describe", 3)], [("default", 2), ("other", 2)], [(1, 2), (2, 1)]),
        ),
        _pack_reply,
        unpack_reply,
    ),
    "signal": Frame(
        [("run:1", _OUTCOMES[0]), ("order-7", _OUTCOMES[1]), ("run:9", _OUTCOMES[2])], pack_signal, unpack_signal
    ),
}
"""By the name of the stored file."""
