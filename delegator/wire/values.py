"""Arguments and results: Python values on one side, serialized `Payloads` on the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final, get_origin

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import (
    AdvancedJSONEncoder,
    DataConverter,
    DefaultPayloadConverter,
    PayloadConverter,
    value_to_type,
)

_to_json: Final = AdvancedJSONEncoder(separators=(",", ":"), sort_keys=True).encode
_from_json: Final = json.JSONDecoder().decode
_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = MappingProxyType(
    {int: int.__repr__, **dict.fromkeys((str, float, bool, list, dict), _to_json)}
)
_SCALARS: Final = (str, int, float, bool)
_CONTAINERS: Final = (list, dict)
_NULL, _JSON = DataConverter.default.payload_converter.to_payloads([None, ""])
_ENCODING: Final = "encoding"
_NULL_ENCODING, _JSON_ENCODING = (payload.metadata[_ENCODING] for payload in (_NULL, _JSON))


class ValueConverter:
    """A payload converter; for the SDK's default one with a short cut for plain JSON values.

    The short cut makes the same of them. The SDK asks a chain of converters and makes a JSON encoder for every single
    value, which four times a job, here and there, takes as long as everything else in a short one.
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
        encoded = _plain_payloads(values) if self._is_default else None
        if encoded is None:
            encoded = Payloads(payloads=self._payloads.to_payloads(values))
        return encoded.SerializeToString()

    def decode(self, data: bytes, hints: Sequence[Any] | None) -> list[Any]:
        """Return the values in a serialized `Payloads`.

        Args:
            data: what `encode` returned, or another SDK wrote.
            hints: the values' types, if known. Those of arguments that were left out don't matter; if there are fewer
                types than values, none is used.

        Raises:
            Exception: what the payload converter raises, and protobuf's DecodeError.
        """
        payloads = Payloads.FromString(data).payloads
        known = None if hints is None or len(hints) < len(payloads) else hints[: len(payloads)]
        values = _plain_values(payloads, known) if self._is_default else None
        if values is None:
            values = self._payloads.from_payloads(payloads, None if known is None else list(known))
        return values


def is_default(converter: DataConverter) -> bool:
    """Return whether values are converted as the SDK does by default; a codec makes no difference."""
    return converter.payload_converter_class is DefaultPayloadConverter


def _plain_payloads(values: Sequence[Any]) -> Payloads | None:
    encoded = Payloads()
    for value in values:
        if value is None:
            encoded.payloads.append(_NULL)
            continue
        write = _WRITERS.get(type(value))
        if write is None:
            return None
        payload = encoded.payloads.add()
        payload.CopyFrom(_JSON)
        payload.data = write(value).encode()
    return encoded


def _plain_values(payloads: Sequence[Payload], hints: Sequence[Any] | None) -> list[Any] | None:
    values: list[Any] = []
    for payload, hint in zip(payloads, repeat(None) if hints is None else hints, strict=False):
        encoding = payload.metadata.get(_ENCODING)
        if encoding == _NULL_ENCODING and not payload.data:
            values.append(None)
            continue
        if encoding != _JSON_ENCODING:
            return None
        try:
            value = _from_json(payload.data.decode())
        except ValueError:  # perhaps it is UTF-16
            return None
        if hint is not None and hint is not Any and (type(value) is not hint or hint not in _SCALARS):
            if hint not in _CONTAINERS and get_origin(hint) not in _CONTAINERS:
                return None
            value = value_to_type(hint, value)
        values.append(value)
    return values
