"""Payloads on their way through the local activity: encoded for the rows, decoded for the workflow.

What can't be encoded or decoded is no matter of the job. So it fails the workflow task, as the SDK does for ordinary
activities: the task is repeated, and goes on when the data converter works again.
"""

from __future__ import annotations

from collections.abc import Sequence

from delegator_schema.options import CODEC_PROBE, TASK_QUEUE, WORKFLOW_TYPE
from temporalio import activity
from temporalio.common import RawValue
from temporalio.converter import PayloadCodec
from temporalio.exceptions import ApplicationError

from delegator.errors import WireError
from delegator.wire.codec import decode_outcome, decode_outcomes, encode_fields, encode_header, encode_payloads
from delegator.wire.contexts import Conversions, JobOrigin
from delegator.wire.frames import from_payload
from delegator.wire.outcomes import Outcome
from delegator.wire.requests import PAYLOAD_ERROR


def frame_in(request: RawValue) -> bytes:
    """Return the frame that a local activity was given.

    Raises:
        ApplicationError: the data converter did not pass it unchanged.
    """
    try:
        return from_payload(request.payload)
    except WireError as error:
        raise payload_error(str(error)) from None


def payload_error(message: str) -> ApplicationError:
    """Return the error of payloads that can't be encoded or decoded. It fails the workflow task.

    Args:
        message: what is wrong.
    """
    return ApplicationError(message, type=PAYLOAD_ERROR, non_retryable=True)


async def encode_call(
    data: bytes, header: bytes, codec: PayloadCodec, job_type: str, *, header_twice: bool = False
) -> tuple[bytes, bytes]:
    """Return the arguments and the header of a call in the form that is stored.

    Args:
        data: a serialized `Payloads`.
        header: a serialized `Header`; empty: none.
        codec: encodes them.
        job_type: named in the error.
        header_twice: the handler's interceptors are to get the header's payloads encoded.

    Raises:
        ApplicationError: the codec or the external storage fails.
    """
    try:
        data = await encode_payloads(data, codec)
        if header and header_twice:
            header = await encode_fields(header, codec)
        return data, await encode_header(header, codec)
    except Exception as error:  # a codec may raise any error
        raise payload_error(
            f"the arguments of {job_type} can't be encoded or stored ({type(error).__name__}: {error})"
        ) from error


async def decode_found(found: Sequence[tuple[str, bytes]], codec: PayloadCodec | None) -> list[Outcome]:
    """Return the outcomes of rows, given as (outcome, result), for the workflow.

    Raises:
        ApplicationError: one can't be decoded.
    """
    try:
        return await decode_outcomes(found, codec)
    except WireError as error:
        raise payload_error(str(error)) from None


async def decode_one(status: str, result: bytes, codec: PayloadCodec | None) -> Outcome:
    """Return the outcome of one row.

    Raises:
        ApplicationError: it can't be decoded.
    """
    try:
        return await decode_outcome(status, result, codec)
    except WireError as error:
        raise payload_error(str(error)) from None


def facts_for_rows(
    conversions: Conversions, probe: str | None, info: activity.Info, *, has_options: bool, in_context: bool = True
) -> dict[str, str]:
    """Return what rows hold of their call beside its options, which win.

    Without it other processes could not encode and decode payloads for the call. `activity.info()` has the workflow's
    type and the task queue. They take 100 bytes of each of a row's versions. So a handler without Temporal's activity
    context does without them, and they alone are not worth a column that would be NULL otherwise.

    Args:
        conversions: the client's data converter.
        probe: of its codec.
        info: the local activity, or the activity.
        has_options: whether the column holds other options.
        in_context: whether the handler may run in Temporal's activity context.
    """
    facts = {} if probe is None else {CODEC_PROBE: probe}
    if conversions.uses_contexts or (in_context and (has_options or facts)):
        facts[TASK_QUEUE] = info.task_queue
        if info.workflow_type:
            facts[WORKFLOW_TYPE] = info.workflow_type
    return facts


def origin_of_call(
    job_type: str, info: activity.Info, activity_id: str | None, task_queue: str | None = None
) -> JobOrigin:
    """Return what a serialization context says of a call.

    Args:
        job_type: its delegated activity type.
        info: the local activity, or the activity.
        activity_id: the caller's id of the activity, if it gave one.
        task_queue: the caller's task queue, if it gave one.
    """
    return JobOrigin(
        namespace=info.workflow_namespace or "",
        workflow_id=info.workflow_id,
        run_id=info.workflow_run_id,
        workflow_type=info.workflow_type,
        job_type=job_type,
        activity_id=activity_id,
        task_queue=task_queue or info.task_queue,
    )
