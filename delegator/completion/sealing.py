"""Outcomes as they stand in the queue: through the payload codec, so that nothing readable is at rest."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

from delegator.errors import WireError
from delegator.wire.outcomes import Outcome, OutcomeKind

_FAILURE_METADATA = {"encoding": b"binary/protobuf", "messageType": b"temporal.api.failure.v1.Failure"}


async def seal(outcome: Outcome, codec: PayloadCodec | None) -> bytes:
    """Return an outcome's body as it is stored: a serialized `Payloads`, through the codec.

    Args:
        outcome: what to store.
        codec: the data converter's codec, if it has one.
    """
    if outcome.kind is OutcomeKind.COMPLETED:
        return await encode_input(outcome.body, codec)
    payload = Payload(metadata=_FAILURE_METADATA, data=outcome.body)
    payloads = [payload] if codec is None else await codec.encode([payload])
    return Payloads(payloads=payloads).SerializeToString()


async def seal_all(outcomes: Sequence[Outcome], codec: PayloadCodec | None) -> list[bytes]:
    """Return what `seal` makes of each."""
    return [
        outcome.body if codec is None and outcome.kind is OutcomeKind.COMPLETED else await seal(outcome, codec)
        for outcome in outcomes
    ]


async def unseal(kind: str, result: bytes, codec: PayloadCodec | None) -> Outcome:
    """Return the outcome that `seal` made these bytes of.

    Raises:
        WireError: they are not of that form, or the codec can't decode them.
    """
    try:
        outcome_kind = OutcomeKind(kind)
        if outcome_kind is OutcomeKind.COMPLETED:
            return Outcome(outcome_kind, await _decoded(result, codec))
        payload = Payloads.FromString(await _decoded(result, codec)).payloads[0]
    except (ValueError, DecodeError, IndexError):
        raise WireError("a stored outcome can't be read") from None
    if dict(payload.metadata) != _FAILURE_METADATA:
        raise WireError("a stored outcome is still encoded: DELEGATOR_DATA_CONVERTER is not the one that stored it")
    return Outcome(outcome_kind, payload.data)


async def unseal_all(stored: Sequence[tuple[str, bytes]], codec: PayloadCodec | None) -> list[Outcome]:
    """Return what `unseal` makes of each, given as (kind, result).

    Raises:
        WireError: as there.
    """
    return [
        Outcome(OutcomeKind.COMPLETED, result)
        if codec is None and kind == OutcomeKind.COMPLETED.value
        else await unseal(kind, result, codec)
        for kind, result in stored
    ]


async def _decoded(payloads: bytes, codec: PayloadCodec | None) -> bytes:
    try:
        return await decode_input(payloads, codec)
    except DecodeError:
        raise
    except Exception as error:  # a codec raises what it likes
        raise WireError(f"the codec can't decode a stored outcome: {type(error).__name__}") from None


async def encode_input(payloads: bytes, codec: PayloadCodec | None) -> bytes:
    """Return a serialized `Payloads` through the codec."""
    if codec is None or not payloads:
        return payloads
    encoded = await codec.encode(Payloads.FromString(payloads).payloads)
    return Payloads(payloads=encoded).SerializeToString()


async def decode_input(payloads: bytes, codec: PayloadCodec | None) -> bytes:
    """Return a serialized `Payloads` back from the codec."""
    if codec is None or not payloads:
        return payloads
    decoded = await codec.decode(Payloads.FromString(payloads).payloads)
    return Payloads(payloads=decoded).SerializeToString()
