"""Arguments and results: Python values on one side, serialized `Payloads` on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.converter import DataConverter, DefaultPayloadConverter, PayloadConverter

from delegator.wire.payload_bytes import decode_plain, encode_plain


class ValueConverter:
    """A payload converter; for the SDK's default one with a short cut for plain values.

    The short cut makes the same of them. The SDK asks a chain of converters and makes protobuf objects and a JSON
    encoder for every single value, which four times a job, here and there, takes as long as everything else in a short
    one.
    """

    __slots__ = ("_is_default", "_payloads")

    def __init__(self, payloads: PayloadConverter, *, is_default: bool) -> None:
        """Prepare.

        Args:
            payloads: decides.
            is_default: it is the SDK's default one; see `is_default`.
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
            hints: the values' types, if known. Those of arguments that were left out don't matter; if there are fewer
                types than values, none is used.

        Raises:
            Exception: what the payload converter raises, and protobuf's DecodeError.
        """
        values = decode_plain(data, hints) if self._is_default else None
        if values is None:
            payloads = Payloads.FromString(data).payloads
            known = None if hints is None or len(hints) < len(payloads) else list(hints[: len(payloads)])
            values = self._payloads.from_payloads(payloads, known)
        return values


def is_default(converter: DataConverter) -> bool:
    """Return whether values are converted as the SDK does by default; a codec makes no difference."""
    return converter.payload_converter_class is DefaultPayloadConverter
