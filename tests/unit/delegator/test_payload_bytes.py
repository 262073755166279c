"""Bytes are written and read without protobuf exactly as with it, down to the messages of errors."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from delegator.wire.payload_bytes import decode_plain, encode_plain
from delegator.wire.values import ValueConverter

SDK = DataConverter.default.payload_converter
QUICK = ValueConverter(SDK, is_default=True)
SLOW = ValueConverter(SDK, is_default=False)

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
JSON = st.recursive(SCALARS, lambda more: st.one_of(st.lists(more), st.dictionaries(st.text(), more)))
PLAIN = st.one_of(JSON, st.binary(), st.integers(0, 70_000).map(bytes), st.integers(0, 20_000).map(lambda n: "x" * n))
HINTS = st.sampled_from((None, Any, str, int, bytes, list[int], dict[str, Any], str | None, RawValue, type(None)))
HINT_LISTS = st.one_of(st.none(), st.lists(HINTS, max_size=3))
SIZES = [*range(3), *range(90, 140), *range(225, 260), *range(16_340, 16_390), *range(2**21 - 40, 2**21 + 5)]


def sdk_bytes(values: Sequence[Any]) -> bytes:
    message = Payloads(payloads=SDK.to_payloads(values))
    data = message.SerializeToString()
    assert data == message.SerializeToString(deterministic=True)
    return data


def outcome(work: Callable[[], object]) -> object:
    try:
        return repr(work())
    except Exception as error:
        return type(error), str(error)


def assert_decoded_alike(data: bytes, hints: Sequence[Any] | None) -> None:
    assert outcome(lambda: QUICK.decode(data, hints)) == outcome(lambda: SLOW.decode(data, hints))


@given(st.lists(PLAIN, max_size=4))
def test_plain_values(values: list[Any]):
    """Plain values are encoded to the same bytes that protobuf writes, and decoded to the same values."""
    data = encode_plain(values)
    assert data == sdk_bytes(values)
    assert repr(decode_plain(data, None)) == repr(SDK.from_payloads(Payloads.FromString(data).payloads))


@pytest.mark.parametrize("make", [lambda size: b"x" * size, lambda size: "x" * size])
def test_length_boundaries(make: Callable[[int], Any]):
    """Values are encoded correctly around the sizes at which a length needs one byte more."""
    for size in SIZES:
        value = make(size)
        data = encode_plain([value])
        assert data == sdk_bytes([value])
        assert QUICK.decode(data, None) == [value]
        if size < 2**21 - 40:
            assert decode_plain(data, None) == [value], "the short cut is taken"


class Colour(enum.IntEnum):
    RED = 1


class Mood(enum.StrEnum):
    CALM = "calm"


class Blob(bytes):
    pass


@pytest.mark.parametrize("value", [Colour.RED, Mood.CALM, Blob(b"x"), bytearray(b"x"), (1,), {1}, object(), Payload()])
def test_other_types(value: Any):
    """Values of other types are left to the SDK's converter."""
    assert encode_plain([value]) is None
    assert encode_plain([1, value]) is None
    assert outcome(lambda: QUICK.encode([value])) == outcome(lambda: SLOW.encode([value]))


@pytest.mark.parametrize(
    "value",
    [
        *([Colour.RED, Mood.CALM, (1, {2})], {Mood.CALM: Colour.RED}, {1: 2, None: 3}, {True: 1}, {2: 1, 1: 2}),
        *([object()], {"a": b"bytes"}, {(1,): 2}, [float("nan")], ["\ud800", "\x7f", "é\u2028"], [10**20, -0.0]),
    ],
)
def test_containers(value: Any):
    """Containers of any values give the SDK's bytes or the SDK's error."""
    assert outcome(lambda: QUICK.encode([value])) == outcome(lambda: SLOW.encode([value]))


def test_circular_value():
    """A value that contains itself gives the SDK's error."""
    ring: list[Any] = []
    ring.append({"again": ring})
    for _ in range(2):
        assert outcome(lambda: QUICK.encode([ring])) == (ValueError, "Circular reference detected")
    assert QUICK.encode([[1]]) == sdk_bytes([[1]])


def test_huge_integer():
    """An integer with too many digits gives the SDK's error."""
    assert outcome(lambda: QUICK.encode([10**5_000])) == outcome(lambda: SLOW.encode([10**5_000]))
    data = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b"9" * 5_000)]).SerializeToString()
    assert_decoded_alike(data, None)


@pytest.mark.parametrize("hint", [None, int, str, float])
@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"0", b"00", b"07", b"-0", b"-7", b"7 ", b" 7", b"7\n", b"1e3", b"1E400", b"1_000", b"+1", b"7.", b"-"),
        *(b'"\\ud800"', b'"\\u00e9"', b'"\xc3\xa9"', b'"\xed\xa0\x80"', b'"\xff"', b'"a\nb"', b'"\x7f"', b'"', b'"a"b'),
        *(b"NaN", b"-Infinity", b"nul", b"null", b"true", b"[1,]", b'{"a":1,"a":2}', b"\xef\xbb\xbf7", b"\xd9\xa7"),
        *("7".encode("utf-16"), "7".encode("utf-16-le"), "[7]".encode("utf-32"), b"7\x00", b"[" * 100, b"1" * 300),
    ],
)
def test_any_json_text(text: bytes, hint: Any):
    """Any JSON text is decoded as the SDK decodes it."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=text)
    for payloads in ([payload], [payload, payload]):
        data = Payloads(payloads=payloads).SerializeToString()
        assert_decoded_alike(data, None if hint is None else [hint] * len(payloads))


def field(number: int, data: bytes) -> bytes:
    assert len(data) < 128
    return bytes((number << 3 | 2, len(data))) + data


def entry(key: bytes, value: bytes) -> bytes:
    return field(1, field(1, key) + field(2, value))


ENCODING = entry(b"encoding", b"json/plain")


@pytest.mark.parametrize(
    "payload",
    [
        *(
            ENCODING + field(2, b"7"),
            field(2, b"7") + ENCODING,
            ENCODING + field(2, b""),
            ENCODING,
            field(2, b"7"),
            b"",
        ),
        *(entry(b"a", b"b") + ENCODING + field(2, b"7"), ENCODING + entry(b"a", b"b") + field(2, b"7")),
        *(ENCODING + field(2, b"7") + entry(b"a", b"b"), ENCODING + field(2, b"7") + field(2, b"8")),
        *(ENCODING + field(2, b"7") + entry(b"encoding", b"binary/plain"), ENCODING * 2 + field(2, b"7")),
        *(ENCODING + field(2, b"7") + field(3, b"\x08\x05"), ENCODING + field(2, b"7") + field(9, b"unknown")),
        *(
            ENCODING + b"\x12\x81\x007",
            ENCODING + b"\x12\x81\x80\x80\x007",
            ENCODING + b"\x12" + b"\x80" * 10 + b"\x007",
        ),
        *(ENCODING + b"\x12\x027", ENCODING + b"\x12", ENCODING + b"\x127", ENCODING + b"\x10\x07"),
        *(entry(b"encoding", b"binary/null"), entry(b"encoding", b"binary/null") + field(2, b"x")),
        *(field(1, field(2, b"json/plain") + field(1, b"encoding")) + field(2, b"7"), entry(b"\xff", b"") + ENCODING),
    ],
)
def test_other_protobuf_forms(payload: bytes):
    """Other valid and incomplete forms of a message are decoded as protobuf decodes them."""
    for data in (field(1, payload), field(1, payload) * 2, field(1, payload) + field(5, b"unknown"), payload):
        for hints in (None, [int, int], [RawValue, RawValue], [bytes]):
            assert_decoded_alike(data, hints)
        for end in range(len(data)):
            assert_decoded_alike(data[:end], None)


@given(st.lists(PLAIN, min_size=1, max_size=3), st.data(), HINT_LISTS)
def test_damaged_bytes(values: list[Any], draw: st.DataObject, hints: list[Any] | None):
    """Damaged bytes are decoded, or refused, as protobuf does it."""
    data = bytearray(sdk_bytes(values))
    for _ in range(draw.draw(st.integers(0, 3))):
        # Most of what can go wrong is in the first bytes.
        at = draw.draw(st.one_of(st.integers(0, min(len(data), 60)), st.integers(0, len(data))))
        cut = draw.draw(st.integers(0, 2))
        data[at : at + cut] = draw.draw(st.binary(max_size=2))
    assert_decoded_alike(bytes(data), hints)


@given(st.binary(max_size=300), HINT_LISTS)
@example(bytes(255), None)
def test_any_bytes(data: bytes, hints: list[Any] | None):
    """Any bytes are decoded, or refused, as protobuf does it."""
    assert_decoded_alike(data, hints)


@given(st.lists(PLAIN, min_size=1, max_size=3), HINT_LISTS)
def test_type_hints(values: list[Any], hints: list[Any] | None):
    """Type hints have the same effect as with the SDK's converter."""
    assert_decoded_alike(sdk_bytes(values), hints)
