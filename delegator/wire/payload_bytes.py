"""Converts plain values to and from the bytes of a serialized `Payloads`, without protobuf objects.

The bytes are those of the SDK's default converter. `size` is a varint:

    Payloads   0A size Payload, for each value
    Payload    0A size Entry, 12 size data; an empty data field is left out
    Entry      0A 08 "encoding", 12 size "json/plain" | "binary/plain" | "binary/null"

Protobuf reads bytes of any other form: fields in another order, more metadata, data in an external storage.
"""

from __future__ import annotations

import json.encoder
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from json.encoder import encode_basestring_ascii
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, Union

from temporalio.api.common.v1 import Payload
from temporalio.converter import AdvancedJSONEncoder, value_to_type

_JSON, _BYTES, _NULL = (
    Payload(metadata={"encoding": encoding}).SerializeToString()
    for encoding in (b"json/plain", b"binary/plain", b"binary/null")
)
_SMALL_BYTES: Final = 256
"""Heads for data of fewer bytes are made once, at import."""
_NO_HEAD: Final = bytes(2 * _SMALL_BYTES)


def encode_plain(values: Sequence[Any]) -> bytes | None:
    """Return values as a serialized `Payloads`; None: not all of them are plain.

    Plain values are None, `bytes` and JSON's own types. Subclasses of these, and other types that the SDK converts to
    JSON, are not plain.

    Raises:
        Exception: what the SDK's default converter raises.
    """
    if len(values) == 1:
        return _encoded(values[0])
    payloads = []
    for value in values:
        payload = _encoded(value)
        if payload is None:
            return None
        payloads.append(payload)
    return b"".join(payloads)


def decode_plain(data: bytes, hints: Sequence[Any] | None) -> list[Any] | None:
    """Return the values in a serialized `Payloads`; None: the SDK's default converter might return others.

    Args:
        data: any bytes, valid or not.
        hints: the values' types, if known. Types beyond the values are ignored. If there are fewer types than values,
            no type is used.

    Raises:
        Exception: what the SDK's default converter raises.
    """
    size = len(data)
    try:
        if size < _SMALL_BYTES:
            hint = hints[0] if hints else None
            head = _JSON_HEAD_OF[size]
            if data.startswith(head):
                return [_json_value(data[len(head) :], hint)]
            head = _BYTES_HEAD_OF[size]
            if data.startswith(head):
                return [_bytes_value(data[len(head) :], hint)]
            if data == _NOTHING and _is_plain(hint):
                return [None]
        parts = _split(data)
        known = repeat(None) if hints is None or len(hints) < len(parts) else hints
        return [read(content, hint) for (read, content), hint in zip(parts, known, strict=False)]
    except (ValueError, IndexError, StopIteration):
        return None


def _encoded(value: Any) -> bytes | None:
    value_type = type(value)
    if value_type is bytes:
        data: bytes = value
        size = len(data)
        return (_BYTES_HEADS[size] if size < _SMALL_BYTES else _head(_BYTES, size)) + data
    write = _WRITERS.get(value_type)
    if write is None:
        return _NOTHING if value is None else None
    try:
        data = write(value).encode()
    except RecursionError:  # the value may contain itself: the SDK has another error for that
        return None
    size = len(data)
    return (_JSON_HEADS[size] if size < _SMALL_BYTES else _head(_JSON, size)) + data


def _head(entry: bytes, size: int) -> bytes:
    """Return the bytes before the data in a `Payloads` of one payload."""
    data = b"\x12" + _varint(size) if size else b""
    return b"\x0a" + _varint(len(entry) + len(data) + size) + entry + data


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    return bytes((number & 0x7F | 0x80,)) + _varint(number >> 7)


def _heads_of(heads: Sequence[bytes]) -> Sequence[bytes]:
    """Index heads by the length of head and data. Impossible lengths get bytes that no data begins with."""
    of = {len(head) + size: head for size, head in enumerate(heads)}
    return tuple(of.get(length, _NO_HEAD) for length in range(_SMALL_BYTES))


_JSON_HEADS: Final = tuple(_head(_JSON, size) for size in range(_SMALL_BYTES))
_BYTES_HEADS: Final = tuple(_head(_BYTES, size) for size in range(_SMALL_BYTES))
_JSON_HEAD_OF: Final = _heads_of(_JSON_HEADS)
_BYTES_HEAD_OF: Final = _heads_of(_BYTES_HEADS)
_NOTHING: Final = _head(_NULL, 0)


def _float(value: float) -> str:
    text = float.__repr__(value)
    return _NOT_FINITE.get(text, text)


def _container_writer() -> Callable[[Any], str]:
    """Return a writer that keeps its encoder. `json` makes one for each value, and that takes most of the time."""
    encoder = AdvancedJSONEncoder(separators=(",", ":"), sort_keys=True)
    try:
        make = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        write = make(None, encoder.default, encode_basestring_ascii, None, ":", ",", True, False, True)
    except (AttributeError, TypeError):  # not a documented part of json
        return encoder.encode
    return lambda value: "".join(write(value, 0))


_NOT_FINITE: Final[Mapping[str, str]] = MappingProxyType({"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"})
_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = MappingProxyType(
    {
        int: int.__repr__,
        str: encode_basestring_ascii,
        float: _float,
        bool: ("false", "true").__getitem__,
        **dict.fromkeys((list, dict), _container_writer()),
    }
)


def _split(data: bytes) -> list[tuple[Callable[[bytes, Any], Any], bytes]]:
    """Return for each payload the function that reads its data, and the data.

    Raises:
        ValueError: the bytes do not have the form that `encode_plain` writes.
        IndexError: the bytes end too early.
    """
    parts: list[tuple[Callable[[bytes, Any], Any], bytes]] = []
    at, end = 0, len(data)
    while at < end:
        if data[at] != 0x0A:
            raise ValueError
        size, at = _size(data, at + 1)
        stop = at + size
        if data.startswith(_JSON, at):
            read, at = _json_value, at + len(_JSON)
        elif data.startswith(_BYTES, at):
            read, at = _bytes_value, at + len(_BYTES)
        elif data.startswith(_NULL, at):
            read, at = _null_value, at + len(_NULL)
        else:
            raise ValueError
        size = 0
        if at < stop:
            if data[at] != 0x12:
                raise ValueError
            size, at = _size(data, at + 1)
        if at + size != stop or stop > end:
            raise ValueError
        parts.append((read, data[at:stop]))
        at = stop
    return parts


def _size(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint and the position after it. A varint that is too long for the fast path is refused."""
    size = data[at]
    if size < 0x80:
        return size, at + 1
    more = data[at + 1]
    if more < 0x80:
        return size & 0x7F | more << 7, at + 2
    most = data[at + 2]
    if most < 0x80:
        return size & 0x7F | (more & 0x7F) << 7 | most << 14, at + 3
    raise ValueError


def _json_value(data: bytes, hint: Any) -> Any:
    if data.isdigit() and (data[0] != _ZERO or len(data) == 1):
        value: Any = int(data)
    else:
        text = data.decode()  # an error here may mean UTF-16, which `json` reads
        value, end = _scan(text, 0)
        if end != len(text):
            raise ValueError
    if hint is None or type(value) is hint or _fits(value, hint):
        return value
    if _is_plain(hint):
        return value_to_type(hint, value)
    raise ValueError


def _bytes_value(data: bytes, hint: Any) -> bytes:
    if hint is bytes or _is_plain(hint):
        return data
    raise ValueError


def _null_value(data: bytes, hint: Any) -> None:
    if data or not _is_plain(hint):
        raise ValueError


def _is_plain(hint: Any) -> bool:
    """Return whether the SDK's converters treat a type in the usual way; `RawValue` is an exception."""
    return hint is None or hint is Any or hint in _TYPES or _origin(hint) in _ORIGINS


def _fits(value: Any, hint: Any) -> bool:
    """Return whether `value_to_type` certainly returns this value unchanged. Calling it takes longer."""
    if hint is Any or type(value) is hint:
        return True
    origin = _origin(hint)
    args: tuple[Any, ...] = getattr(hint, "__args__", ())
    if origin is list and type(value) is list and len(args) == 1:
        return _all_fit(value, args[0])
    if origin is dict and type(value) is dict and len(args) == 2 and args[0] is str:
        return _all_fit(value.values(), args[1])
    if origin in _UNIONS and args:
        # A union tries its members in turn, and null stays null.
        return (value is None and NoneType in args) or _fits(value, args[0])
    return False


def _all_fit(values: Iterable[Any], hint: Any) -> bool:
    if hint in _TYPES:
        return {*map(type, values)} <= {hint}
    return hint is Any or all(_fits(value, hint) for value in values)


def _origin(hint: Any) -> Any:
    return getattr(hint, "__origin__", None) or type(hint)


_ZERO: Final = ord("0")
_UNIONS: Final = (Union, UnionType)
_ORIGINS: Final = (list, dict, *_UNIONS)
_TYPES: Final = (bytes, NoneType, str, int, float, bool, list, dict)
_scan: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
