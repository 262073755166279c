"""Encodes payloads with the payload codec before they are stored, so that the database holds nothing readable."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

from delegator.errors import WireError
from delegator.wire.outcomes import Outcome, OutcomeStatus

_FAILURE_METADATA = {"encoding": b"binary/protobuf", "messageType": b"temporal.api.failure.v1.Failure"}


async def encode_outcome(outcome: Outcome, codec: PayloadCodec | None) -> bytes:
    """Return an outcome's body in the form that is stored: a serialized `Payloads`, encoded by the codec.

    Args:
        outcome: what to store.
        codec: the data converter's codec, if it has one.
    """
    if outcome.status is OutcomeStatus.COMPLETED:
        return await encode_payloads(outcome.body, codec)
    payload = Payload(metadata=_FAILURE_METADATA, data=outcome.body)
    payloads = [payload] if codec is None else await codec.encode([payload])
    return Payloads(payloads=payloads).SerializeToString()


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
        payload = Payloads.FromString(await _decoded(result, codec)).payloads[0]
    except (ValueError, DecodeError, IndexError):
        raise WireError("a stored outcome can't be read") from None
    if dict(payload.metadata) != _FAILURE_METADATA:
        raise WireError("a stored outcome is still encoded: DELEGATOR_DATA_CONVERTER is not the one that stored it")
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
    except DecodeError:
        raise
    except Exception as error:  # a codec may raise any error
        raise WireError(f"the codec can't decode a stored outcome: {type(error).__name__}") from None


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
