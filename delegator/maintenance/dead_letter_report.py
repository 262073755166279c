"""Dead letters as plain values with stable keys, for `--json` and for tables."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import FailureError

from delegator.errors import WireError
from delegator.postgres.dead_letters import Content, DeadLetter
from delegator.wire.codec import decode_header, decode_outcome, decode_payloads
from delegator.wire.contexts import Conversion, Conversions, row_origin
from delegator.wire.rows import row_problem

_SIGNAL_INPUT = "signal_input"
_TYPES = {
    "timeout_failure_info": "TimeoutError",
    "canceled_failure_info": "CancelledError",
    "terminated_failure_info": "TerminatedError",
    "server_failure_info": "ServerError",
    "activity_failure_info": "ActivityError",
    "child_workflow_execution_failure_info": "ChildWorkflowError",
}


def summary(letter: DeadLetter) -> dict[str, Any]:
    """Return what `dlq list` shows of a dead letter. It holds nothing that a codec hides."""
    return {
        "id": letter.id,
        "kind": letter.kind,
        "queue": letter.queue,
        "type": letter.type,
        "reason": letter.reason,
        "error": letter.error,
        "attempt": letter.attempt,
        "job_id": letter.job_id,
        "namespace": letter.namespace,
        "workflow_id": letter.workflow_id,
        "run_id": None if letter.run_id is None else str(letter.run_id),
        "enqueued_at": letter.enqueued_at.isoformat(),
        "died_at": letter.died_at.isoformat(),
    }


async def describe(
    letter: DeadLetter, content: Content, converter: DataConverter, *, payloads: bool = False
) -> dict[str, Any]:
    """Return everything about a dead letter.

    Args:
        letter: the dead letter.
        content: its payloads.
        converter: the data converter of the processes that enqueued and ran the job.
        payloads: also return the arguments, the headers' values and the failure's details.
    """
    options = dict(content.options or {})
    signal_input = base64.b64decode(options.pop(_SIGNAL_INPUT, ""))
    described = {**summary(letter), "options": options, "input_bytes": len(content.input or b"")}
    problem = row_problem(letter.format_version)
    if problem is not None:
        described |= {"failure": None, "unreadable_failure": problem}
        if payloads:
            described |= {"input": None, "unreadable_input": problem, "header": None}
        return described
    conversion = _conversion(letter, content, converter)
    try:
        described |= {"failure": await _failure(content.failure, conversion, payloads), "unreadable_failure": None}
    except WireError as error:
        described |= {"failure": None, "unreadable_failure": str(error)}
    if payloads:
        described |= await _read_content(content, conversion)
        if signal_input:
            read = await _read_content(content._replace(input=signal_input, header=None), conversion)
            described |= {"signal_input": read["input"], "unreadable_signal_input": read["unreadable_input"]}
    return described


def _conversion(letter: DeadLetter, content: Content, converter: DataConverter) -> Conversion:
    if letter.operation is not None:
        return Conversions(converter).of_workflow(letter.namespace or "default", letter.workflow_id or "", None)
    return Conversions(converter).of(
        row_origin(
            job_id=letter.job_id,
            job_type=letter.type,
            namespace=letter.namespace,
            workflow_id=letter.workflow_id,
            run_id=None if letter.run_id is None else str(letter.run_id),
            options=orjson.dumps(content.options).decode(),
        )
    )


async def _read_content(content: Content, conversion: Conversion) -> dict[str, Any]:
    """Return the arguments and headers, or why they can't be read."""
    read: dict[str, Any] = {"input": None, "unreadable_input": None, "header": None}
    try:
        decoded = await decode_payloads(content.input or b"", conversion.codec)
        read["input"] = [_payload(payload) for payload in Payloads.FromString(decoded).payloads]
    except Exception as error:  # a codec may raise any error
        read["unreadable_input"] = f"the arguments can't be decoded: {type(error).__name__}"
    try:
        fields = Header.FromString(await decode_header(content.header or b"", conversion.codec)).fields
        read["header"] = {name: _payload(fields[name]) for name in sorted(fields)}
    except (DecodeError, WireError):
        pass
    return read


async def _failure(encoded: bytes | None, conversion: Conversion, payloads: bool) -> dict[str, Any] | None:
    if encoded is None:
        return None
    outcome = await decode_outcome("failed", encoded, conversion.codec)
    try:
        failure = Failure.FromString(outcome.body)
    except DecodeError:
        raise WireError("a stored outcome can't be read") from None
    _restore(failure, conversion.converter)
    links = list(_chain(failure))
    outer: dict[str, Any] = {"retry_state": None, "worker": None}
    if failure.HasField("activity_failure_info"):
        info = failure.activity_failure_info
        outer = {"retry_state": RetryState.Name(info.retry_state), "worker": info.identity}
        links = links[1:] or links
    first, *causes = [_link(link, payloads) for link in links]
    return {**first, **outer, "causes": causes}


def _restore(failure: Failure, converter: DataConverter) -> None:
    """Restore what a failure converter has moved into the encoded attributes."""
    for link in _chain(failure):
        if link.HasField("encoded_attributes"):
            error = converter.failure_converter.from_failure(link, converter.payload_converter)
            if isinstance(error, FailureError) and error.failure is not None:
                link.message, link.stack_trace = error.failure.message, error.failure.stack_trace


def _chain(failure: Failure) -> Iterator[Failure]:
    yield failure
    while failure.HasField("cause"):
        failure = failure.cause
        yield failure


def _link(failure: Failure, payloads: bool) -> dict[str, Any]:
    which = failure.WhichOneof("failure_info") or ""
    described: dict[str, Any] = {
        "type": _TYPES.get(which, "Error"),
        "message": failure.message,
        "non_retryable": False,
        "stack_trace": failure.stack_trace or None,
    }
    details: Payloads | None = None
    if which == "application_failure_info":
        info = failure.application_failure_info
        described |= {"type": info.type or "ApplicationError", "non_retryable": info.non_retryable}
        details = info.details
    elif which == "timeout_failure_info":
        described["timeout"] = TimeoutType.Name(failure.timeout_failure_info.timeout_type)
        details = failure.timeout_failure_info.last_heartbeat_details
    elif which == "canceled_failure_info":
        details = failure.canceled_failure_info.details
    if payloads:
        described["details"] = [_payload(payload) for payload in details.payloads] if details is not None else []
    return described


def _payload(payload: Payload) -> dict[str, Any]:
    """Return a payload's value if it is JSON, else its bytes in base64, with its encoding."""
    encoding = payload.metadata.get("encoding", b"").decode(errors="replace")
    if encoding == "binary/null":
        return {"encoding": encoding, "value": None}
    if encoding.startswith("json/"):
        try:
            return {"encoding": encoding, "value": orjson.loads(payload.data)}
        except orjson.JSONDecodeError:
            pass
    return {"encoding": encoding, "base64": base64.b64encode(payload.data).decode()}
