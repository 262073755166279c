"""Arguments and results: Python values on one side, serialized `Payloads` on the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter, DefaultPayloadConverter, PayloadConverter

from delegator.errors import UnreadablePayloadError, WireError
from delegator.wire.payload_bytes import decode_plain, encode_plain

_ENCRYPTED = b"binary/encrypted"
"""The encoding that `delegator.encryption` and the samples of Temporal's SDKs give to encrypted payloads."""


class ValueConverter:
    """A payload converter. It has a fast path for plain values, which is used with the SDK's default converter.

    The fast path gives the same bytes and values. For every value the SDK asks a chain of converters and makes protobuf
    objects and a JSON encoder. That happens four times for each job. For a short job it takes as long as all the rest.
    """

    __slots__ = ("_is_default", "_payloads")

    def __init__(self, payloads: PayloadConverter, *, is_default: bool) -> None:
        """Prepare.

        Args:
            payloads: the payload converter.
            is_default: whether it is the SDK's default one; see `is_default` below.
        """
        self._payloads = payloads
        self._is_default = is_default

    def encode(self, values: Sequence[Any]) -> bytes:
        """Return values as a serialized `Payloads`; empty if there are none.

        Raises:
            Exception: what the payload converter raises.
        """
        if not values:
            return b""
        encoded = encode_plain(values) if self._is_default else None
        if encoded is None:
            encoded = Payloads(payloads=self._payloads.to_payloads(values)).SerializeToString()
        return encoded

    def decode(self, data: bytes, hints: Sequence[Any] | None) -> list[Any]:
        """Return the values in a serialized `Payloads`.

        Args:
            data: what `encode` returned, or another SDK wrote.
            hints: the values' types, if known. Types beyond the values are ignored. If there are fewer types than
                values, no type is used.

        Raises:
            UnreadablePayloadError: a payload is encrypted still.
            Exception: what the payload converter raises, and protobuf's DecodeError.
        """
        values = decode_plain(data, hints) if self._is_default else None
        if values is None:
            payloads = Payloads.FromString(data).payloads
            _refuse_references(payloads)
            known = None if hints is None or len(hints) < len(payloads) else list(hints[: len(payloads)])
            try:
                values = self._payloads.from_payloads(payloads, known)
            except Exception as error:
                if any(payload.metadata.get("encoding") == _ENCRYPTED for payload in payloads):
                    raise UnreadablePayloadError(
                        "encrypted payload: is the data converter the same here? DELEGATOR_DATA_CONVERTER must name "
                        "the client's data converter"
                    ) from error
                raise
        return values


def _refuse_references(payloads: Iterable[Payload]) -> None:
    """Refuse what an external storage has left in the place of a payload, where no storage has fetched it."""
    for payload in payloads:
        if (
            payload.metadata.get("encoding") == b"json/external-storage-reference"
            or payload.metadata.get("messageType") == b"temporal.api.sdk.v1.ExternalStorageReference"
        ):
            raise WireError(
                "[TMPRL1105] Detected externally stored payload(s) but external storage is not configured. "
                "DELEGATOR_DATA_CONVERTER must name the client's data converter."
            )


def is_default(converter: DataConverter) -> bool:
    """Return whether values are converted as the SDK does by default. A codec makes no difference."""
    return converter.payload_converter_class is DefaultPayloadConverter
