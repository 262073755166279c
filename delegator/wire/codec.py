"""Encodes payloads with the payload codec before they are stored, so that the database holds nothing readable."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import PayloadCodec

from delegator.errors import UnreadablePayloadError, WireError
from delegator.wire.outcomes import Outcome, OutcomeStatus

_FAILURE_METADATA = {"encoding": b"binary/protobuf", "messageType": b"temporal.api.failure.v1.Failure"}
_PLAIN_METADATA = {**_FAILURE_METADATA, "delegator": b"plain"}
"""Of a failure that stands in for one that the codec could not encode."""
_HEADER_METADATA = {"encoding": b"binary/protobuf", "messageType": b"temporal.api.common.v1.Header"}
_HEADER_FIELD = "delegator.header"
"""The only field of an encoded header. It holds the whole header."""
_CURE = "DELEGATOR_DATA_CONVERTER is not that of the process that stored it"


async def encode_outcome(outcome: Outcome, codec: PayloadCodec | None, *, stand_in: bool = True) -> bytes:
    """Return an outcome's body in the form that is stored: a serialized `Payloads`, encoded by the codec.

    Args:
        outcome: what to store.
        codec: the data converter's codec, if it has one.
        stand_in: if the codec can't encode a failure, store another one in its place, which says so.

    Raises:
        Exception: what the codec raises for a result; without `stand_in`, for a failure, too.
    """
    if outcome.status is OutcomeStatus.COMPLETED:
        return await encode_payloads(outcome.body, codec)
    payload = Payload(metadata=_FAILURE_METADATA, data=outcome.body)
    try:
        payloads = [payload] if codec is None else await codec.encode([payload])
    except Exception as problem:
        if not stand_in:
            raise
        payloads = [Payload(metadata=_PLAIN_METADATA, data=_stand_in(outcome.body, problem))]
    return Payloads(payloads=payloads).SerializeToString()


def plain_outcome(outcome: Outcome, codec: PayloadCodec | None) -> bytes:
    """Return a failure in stored form that needs no codec, because nothing of the user's is in it.

    Args:
        outcome: a failure that the engine has made.
        codec: the data converter's codec. The form says so if it was left out.
    """
    metadata = _FAILURE_METADATA if codec is None else _PLAIN_METADATA
    return Payloads(payloads=[Payload(metadata=metadata, data=outcome.body)]).SerializeToString()


def not_built(problem: BaseException) -> Failure:
    """Return the failure in place of one that can't be converted or encoded, as the SDK's activity worker makes it.

    Args:
        problem: what the failure converter or the codec raised.
    """
    try:
        failure = Failure(message=f"Failed building exception result: {problem}")
    except BaseException:  # the error has no text, or one that is not valid Unicode
        failure = Failure(message=f"Failed building exception result: {type(problem).__name__}")
    failure.application_failure_info.SetInParent()
    return failure


def _stand_in(body: bytes, problem: Exception) -> bytes:
    try:
        failure = Failure.FromString(body)
    except DecodeError:
        failure = Failure()
    if not failure.HasField("activity_failure_info"):
        return not_built(problem).SerializeToString()
    failure.cause.CopyFrom(not_built(problem))
    return failure.SerializeToString()


async def encode_outcomes(outcomes: Sequence[Outcome], codec: PayloadCodec | None) -> list[bytes]:
    """Apply `encode_outcome` to each outcome."""
    return [
        outcome.body
        if codec is None and outcome.status is OutcomeStatus.COMPLETED
        else await encode_outcome(outcome, codec)
        for outcome in outcomes
    ]


async def decode_outcome(status: str, result: bytes, codec: PayloadCodec | None) -> Outcome:
    """Return the outcome that `encode_outcome` has encoded.

    Raises:
        WireError: the bytes have another form, or the codec can't decode them.
    """
    try:
        outcome_status = OutcomeStatus(status)
        if outcome_status is OutcomeStatus.COMPLETED:
            return Outcome(outcome_status, await _decoded(result, codec))
        payload = Payloads.FromString(result).payloads[0]
        if dict(payload.metadata) == _PLAIN_METADATA:
            return Outcome(outcome_status, payload.data)
        payload = Payloads.FromString(await _decoded(result, codec)).payloads[0]
    except (ValueError, DecodeError, IndexError):
        raise WireError("a stored outcome can't be read") from None
    if dict(payload.metadata) != _FAILURE_METADATA:
        raise WireError(f"a stored outcome is still encoded: {_CURE}")
    return Outcome(outcome_status, payload.data)


async def decode_outcomes(stored: Sequence[tuple[str, bytes]], codec: PayloadCodec | None) -> list[Outcome]:
    """Apply `decode_outcome` to each (status, result) pair.

    Raises:
        WireError: as `decode_outcome`.
    """
    return [
        Outcome(OutcomeStatus.COMPLETED, result)
        if codec is None and status == OutcomeStatus.COMPLETED.value
        else await decode_outcome(status, result, codec)
        for status, result in stored
    ]


async def _decoded(payloads: bytes, codec: PayloadCodec | None) -> bytes:
    try:
        return await decode_payloads(payloads, codec)
    except (DecodeError, UnreadablePayloadError):
        raise
    except Exception as error:  # a codec may raise any error
        raise WireError(f"the codec can't decode a stored outcome ({type(error).__name__}): {_CURE}") from None


async def encode_payloads(payloads: bytes, codec: PayloadCodec | None) -> bytes:
    """Encode a serialized `Payloads` with the codec."""
    if codec is None or not payloads:
        return payloads
    encoded = await codec.encode(Payloads.FromString(payloads).payloads)
    return Payloads(payloads=encoded).SerializeToString()


async def decode_payloads(payloads: bytes, codec: PayloadCodec | None) -> bytes:
    """Decode a serialized `Payloads` with the codec."""
    if codec is None or not payloads:
        return payloads
    decoded = await codec.decode(Payloads.FromString(payloads).payloads)
    return Payloads(payloads=decoded).SerializeToString()


async def encode_header(header: bytes, codec: PayloadCodec | None) -> bytes:
    """Return a serialized `Header` in the form that is stored: encoded by the codec, so that nothing is readable."""
    if codec is None or not header:
        return header
    payloads = await codec.encode([Payload(metadata=_HEADER_METADATA, data=header)])
    return Header(fields={_HEADER_FIELD: payloads[0]}).SerializeToString()


async def encode_fields(header: bytes, codec: PayloadCodec) -> bytes:
    """Return a serialized `Header` whose payloads are encoded one by one, as the SDK encodes headers."""
    encoded = Header.FromString(header)
    for payload in encoded.fields.values():
        (replacement,) = await codec.encode([payload])
        payload.CopyFrom(replacement)
    return encoded.SerializeToString()


async def decode_header(header: bytes, codec: PayloadCodec | None) -> bytes:
    """Return the header that `encode_header` has encoded. Other headers are returned unchanged.

    Raises:
        WireError: it can't be decoded.
    """
    if _HEADER_FIELD.encode() not in header:
        return header
    payload = Header.FromString(header).fields[_HEADER_FIELD]
    try:
        (payload,) = [payload] if codec is None else await codec.decode([payload])
    except UnreadablePayloadError:
        raise
    except Exception as error:  # a codec may raise any error
        raise WireError(f"the codec can't decode the job's header ({type(error).__name__}): {_CURE}") from None
    if dict(payload.metadata) != _HEADER_METADATA:
        raise UnreadablePayloadError(f"the job's header is still encoded: {_CURE}")
    return payload.data
