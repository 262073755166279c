"""A frame: one JSON header and many binary bodies in one byte string.

Ten thousand jobs travel as one payload instead of ten thousand, so that a codec, the SDK's bridge
and history each handle one object.

    4 bytes, big endian: length of the header | header, JSON | bodies, one after the other

The header's key `sizes` holds the bodies' lengths, and `version` the format's version. Histories keep frames for as
long as their workflows live. So a reader must know every version that was ever released. It refuses a later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import orjson
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from delegator.errors import ConfigurationError, WireError

VERSION = 1
"""The version of the frames that this release writes."""

_LENGTH_BYTES = 4
_SIZES = "sizes"
_VERSION = "version"
ENCODING = "encoding"
"""The metadata key that says how a payload's data are encoded."""
BINARY = b"binary/plain"
"""The encoding of a frame's payload."""
FRAME = "delegator-frame"
"""The metadata key of a payload that a codec server has made readable. It holds the frame."""


def pack(header: dict[str, Any], bodies: Sequence[bytes]) -> bytes:
    """Return a frame of `header` and `bodies`."""
    encoded = orjson.dumps({_VERSION: VERSION, **header, _SIZES: list(map(len, bodies))})
    return b"".join((len(encoded).to_bytes(_LENGTH_BYTES, "big"), encoded, *bodies))


def head(frame: bytes) -> dict[str, Any]:
    """Return the header of a frame. The bodies are not read.

    Raises:
        WireError: the bytes are not a frame, or a later release wrote it.
    """
    return _head(frame)[0]


def unpack(frame: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return the header (without `sizes` and `version`) and the bodies of a frame.

    Raises:
        WireError: the bytes are not a frame, or a later release wrote it.
    """
    header, sizes, start = _head(frame)
    try:
        ends = list(accumulate(sizes, initial=start))
    except TypeError:
        raise WireError("not a delegator frame") from None
    if ends[-1] != len(frame) or any(type(size) is not int or size < 0 for size in sizes):
        raise WireError("a delegator frame was cut short")
    return header, [frame[begin:end] for begin, end in pairwise(ends)]


def _head(frame: bytes) -> tuple[dict[str, Any], Any, int]:
    """Return the header, the bodies' sizes (not checked), and the position of the first body."""
    start = _LENGTH_BYTES + int.from_bytes(frame[:_LENGTH_BYTES], "big")
    try:
        header = orjson.loads(frame[_LENGTH_BYTES:start])
        sizes, version = header.pop(_SIZES), header.pop(_VERSION)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        raise WireError("not a delegator frame") from None
    if version != VERSION:
        raise WireError(f"a delegator frame of version {version!r}: this release reads up to {VERSION}; update it")
    return header, sizes, start


def from_payload(payload: Payload) -> bytes:
    """Return the frame in a Temporal payload.

    Raises:
        WireError: the payload is encoded, so the data converter here is not the one that wrote it.
    """
    encoding = payload.metadata.get(ENCODING, b"")
    if encoding != BINARY:
        if FRAME in payload.metadata:  # of a history that a codec server has decoded
            return payload.metadata[FRAME]
        raise WireError(
            f"a delegator frame has the encoding {encoding.decode(errors='replace')!r}: it was written with another "
            "data converter. All clients, workers and http-workers (DELEGATOR_DATA_CONVERTER) need the same one, with "
            "the same keys"
        )
    return payload.data


def to_payload(frame: bytes) -> Payload:
    """Wrap a frame as a Temporal payload."""
    return Payload(metadata={ENCODING: BINARY}, data=frame)


def to_raw_value(frame: bytes) -> RawValue:
    """Wrap a frame in a value that payload converters leave unchanged."""
    return RawValue(to_payload(frame))


def require_raw_values(converter: DataConverter) -> None:
    """Refuse a data converter that does not pass frames unchanged.

    Args:
        converter: the client's data converter.

    Raises:
        ConfigurationError: its payload converter does not leave a `RawValue` as it is.
    """
    payload = to_payload(b"frame")
    payloads = converter.payload_converter
    try:
        sent = payloads.to_payloads([RawValue(payload)])
        (received,) = payloads.from_payloads(sent, [RawValue])
        if list(sent) == [payload] and received.payload == payload:
            return
    except Exception as error:  # a payload converter may raise any error
        reason = f" ({type(error).__name__})"
    else:
        reason = ""
    name = converter.payload_converter_class.__qualname__
    raise ConfigurationError(
        f"the payload converter {name} does not pass temporalio.common.RawValue unchanged{reason}: make it a subclass "
        "of temporalio.converter.CompositePayloadConverter"
    )
