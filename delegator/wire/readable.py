"""Renders the frames in a history as JSON for people, in a form that programs read as the frame it was.

A rendered payload is `json/plain`, and its metadata keep the frame. So a history that a codec server has decoded can
still be replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any, Final

import orjson
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure

from delegator.errors import WireError
from delegator.wire.frames import BINARY, ENCODING, FRAME, from_payload, to_payload
from delegator.wire.outcomes import Outcome, OutcomeStatus, unpack_reply, unpack_signal
from delegator.wire.pending import unpack_looked

_JSON: Final = b"json/plain"
_READ_AS_JSON: Final = (_JSON, b"json/protobuf")
_NULL: Final = b"binary/null"
_MOST_JOBS: Final = 100
_MOST_BYTES: Final = 256 * 1024
"""Results and failures beyond this are shown as their sizes only."""
_MOST_CAUSES: Final = 20
_WAITS: Final = "waiting"


def readable(payload: Payload) -> Payload:
    """Return a payload that people can read, if the payload holds a frame of a history. Others are returned as is.

    Args:
        payload: decoded by the payload codec.
    """
    if payload.metadata.get(ENCODING) != BINARY:
        return payload
    shown = _shown(payload.data)
    if shown is None:
        return payload
    return Payload(metadata={ENCODING: _JSON, FRAME: payload.data}, data=orjson.dumps(shown))


def restored(payload: Payload) -> Payload:
    """Return the payload that `readable` was given."""
    return to_payload(from_payload(payload)) if FRAME in payload.metadata else payload


def _shown(frame: bytes) -> dict[str, Any] | None:
    """Return what a frame says; None: it is none of those that a history has, or a later release wrote it."""
    try:
        reply = unpack_reply(frame)
    except WireError:
        pass
    else:
        types = chain.from_iterable(repeat(name, count) for name, count in reply.asked.types)
        return _of_jobs("reply to an enqueue request", ({"type": name} for name in types), reply.outcomes)
    try:
        looked = unpack_looked(frame)
    except WireError:
        pass
    else:
        lacking = looked.missing
        shown = {"delegator": "jobs that their queues lack", "jobs": len(lacking), "first": lacking[:_MOST_JOBS]}
        return shown if looked.is_retrying is None else {**shown, "others_are_retried": looked.is_retrying}
    try:
        outcomes = unpack_signal(frame)
    except WireError:
        return None
    return _of_jobs("outcomes", ({"job_id": job_id} for job_id, _ in outcomes), [outcome for _, outcome in outcomes])


def _of_jobs(what: str, jobs: Iterable[dict[str, Any]], outcomes: Sequence[Outcome | None]) -> dict[str, Any]:
    statuses = Counter(_WAITS if outcome is None else outcome.status.value for outcome in outcomes)
    shown: dict[str, Any] = {"delegator": what, "jobs": len(outcomes), "statuses": dict(statuses)}
    left = _MOST_BYTES
    first = []
    for job, outcome in islice(zip(jobs, outcomes, strict=False), _MOST_JOBS):
        if outcome is None:
            first.append({**job, "status": _WAITS})
            continue
        left -= len(outcome.body)
        first.append({**job, "status": outcome.status.value, **_outcome(outcome, in_full=left >= 0)})
    shown["first"] = first
    return shown


def _outcome(outcome: Outcome, *, in_full: bool) -> dict[str, Any]:
    is_result = outcome.status is OutcomeStatus.COMPLETED
    key = "result" if is_result else "failure"
    if not in_full:
        return {key: {"bytes": len(outcome.body)}}
    try:
        if not is_result:
            return {key: _failure(Failure.FromString(outcome.body))}
        values = [_value(payload) for payload in Payloads.FromString(outcome.body).payloads]
    except DecodeError:
        return {key: {"bytes": len(outcome.body)}}
    return {key: values[0] if len(values) == 1 else values or None}


def _value(payload: Payload) -> Any:
    encoding = payload.metadata.get(ENCODING, b"")
    if encoding == _NULL:
        return None
    if encoding in _READ_AS_JSON:
        try:
            return orjson.loads(payload.data)
        except orjson.JSONDecodeError:  # Python's JSON has numbers that JSON has not, such as NaN
            return payload.data.decode(errors="replace")
    return {"encoding": encoding.decode(errors="replace"), "bytes": len(payload.data)}


def _failure(failure: Failure) -> dict[str, Any] | None:
    """Return a failure and its causes, the outermost first."""
    found = [_own_part(one) for one in islice(_causes(failure), _MOST_CAUSES)]
    shown = None
    for one in reversed(found):
        shown = one if shown is None else {**one, "cause": shown}
    return shown


def _causes(failure: Failure) -> Iterator[Failure]:
    yield failure
    while failure.HasField("cause"):
        failure = failure.cause
        yield failure


def _own_part(failure: Failure) -> dict[str, Any]:
    shown: dict[str, Any] = {"message": failure.message, "stack_trace": failure.stack_trace}
    if failure.HasField("encoded_attributes"):
        attributes = _value(failure.encoded_attributes)
        if isinstance(attributes, dict):
            shown |= {key: attributes[key] for key in shown if isinstance(attributes.get(key), str)}
    kind = failure.WhichOneof("failure_info")
    if kind == "application_failure_info":
        info = failure.application_failure_info
        shown |= {"type": info.type, "non_retryable": info.non_retryable, "details": _values(info.details)}
    elif kind == "timeout_failure_info":
        shown["timeout"] = _short(TimeoutType.Name(failure.timeout_failure_info.timeout_type), "TIMEOUT_TYPE_")
    elif kind == "canceled_failure_info":
        shown |= {"canceled": True, "details": _values(failure.canceled_failure_info.details)}
    elif kind == "activity_failure_info":
        activity = failure.activity_failure_info
        shown |= {
            "activity_type": activity.activity_type.name,
            "activity_id": activity.activity_id,
            "retry_state": _short(RetryState.Name(activity.retry_state), "RETRY_STATE_"),
        }
    return {key: value for key, value in shown.items() if value or key == "message"}


def _values(payloads: Payloads) -> list[Any]:
    return [_value(payload) for payload in payloads.payloads]


def _short(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
