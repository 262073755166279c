"""Payloads as workers see them: JSON values, or payloads in Base64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import orjson
from msgspec import Raw
from temporalio.api.common.v1 import Payload, Payloads

from delegator.wire.raw_payloads import payload_of
from delegator.wire.worker_protocol import RawPayload

_JSON: Final = frozenset({b"json/plain", b"json/protobuf"})
_NULL: Final = b"null"
_PLAIN: Final = {"encoding": b"json/plain"}
_NO_VALUE: Final = {"encoding": b"binary/null"}


def json_values(data: bytes) -> list[Raw] | None:
    """Return payloads as JSON values; None: one of them is not JSON.

    Args:
        data: a serialized `Payloads`, not encoded by a codec.

    Raises:
        DecodeError: it is none.
    """
    values = []
    for payload in Payloads.FromString(data).payloads:
        encoding = payload.metadata.get("encoding")
        if encoding == b"binary/null":
            values.append(Raw(_NULL))
        elif encoding in _JSON and _is_json(payload.data):
            values.append(Raw(payload.data))
        else:
            return None
    return values


def _is_json(data: bytes) -> bool:
    """Return whether this is JSON. Python's encoder also writes NaN and infinities, which are not."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def as_values(payloads: Iterable[RawPayload]) -> list[Raw]:
    """Return raw payloads as JSON values that hold them."""
    return [Raw(msgspec.json.encode(payload)) for payload in payloads]


def of_json(values: Sequence[Raw]) -> list[Payload]:
    """Return JSON values as payloads. The workflow gets them as it gets those of a Python activity."""
    return [_of_value(bytes(value)) for value in values]


def _of_value(value: bytes) -> Payload:
    return Payload(metadata=_NO_VALUE) if value == _NULL else Payload(metadata=_PLAIN, data=value)


def of_raw(payloads: Iterable[RawPayload]) -> list[Payload]:
    """Return raw payloads as Temporal's."""
    return list(map(payload_of, payloads))


def serialized(payloads: Sequence[Payload]) -> bytes:
    """Return payloads as a serialized `Payloads`."""
    return Payloads(payloads=payloads).SerializeToString()
