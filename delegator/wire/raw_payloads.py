"""Temporal's payloads as the HTTP worker protocol writes them."""

from __future__ import annotations

from msgspec import UNSET
from temporalio.api.common.v1 import Payload, Payloads

from delegator.wire.worker_protocol import RawPayload


def raw_payload(payload: Payload) -> RawPayload:
    """Return a payload in the protocol's form."""
    sizes = [external.size_bytes for external in payload.external_payloads]
    return RawPayload(payload.data, dict(payload.metadata), sizes or UNSET)


def raw_payloads(data: bytes) -> list[RawPayload]:
    """Return a serialized `Payloads` in the protocol's form.

    Raises:
        DecodeError: it is none.
    """
    return [raw_payload(payload) for payload in Payloads.FromString(data).payloads]


def payload_of(raw: RawPayload) -> Payload:
    """Return a payload that came in the protocol's form."""
    sizes = () if raw.external_sizes is UNSET else raw.external_sizes
    return Payload(
        metadata=raw.metadata,
        data=raw.data,
        external_payloads=[Payload.ExternalPayloadDetails(size_bytes=size) for size in sizes],
    )
