"""The short cut for plain values gives the same results and errors as the SDK's default converter."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Dict, List, Literal, Optional, TypeVar, Union  # noqa: UP035
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.common import RawValue
from temporalio.converter import DataConverter, DefaultPayloadConverter, PayloadConverter

from delegator.wire.values import ValueConverter, is_default

SDK = DataConverter.default.payload_converter
QUICK = ValueConverter(SDK, is_default=True)


@dataclasses.dataclass
class Size:
    width: int
    height: float


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    pass


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
JSON = st.recursive(SCALARS, lambda more: st.one_of(st.lists(more), st.dictionaries(st.text(), more)))
OTHERS = st.sampled_from(
    (
        *(b"bytes", (1, 2), {3}, Size(1, 2.5), {"in": Size(1, 2)}, Colour.RED, Name("n")),
        *(datetime(2026, 1, 1, tzinfo=UTC), UUID(int=7), Payload(data=b"x"), RawValue(Payload(data=b"raw"))),
        *(object(), {1: "a", "b": 2}),
    )
)
HINTS = st.sampled_from(
    (
        *(None, Any, str, int, float, bool, bytes, list, dict, list[int], dict[str, Any], dict[str, Size]),
        *(list[list[float]], dict[str, bool], dict[int, str], dict[Any, Any], list[int | None], list[Any]),
        *(Optional[str], Union[float, str], List, Dict, List[int]),  # noqa: UP006, UP007, UP045
        *(str | int | None, None | dict[str, list[int]], list[Size]),
        *(Annotated[int, "unit"], Literal["a", 1, None], tuple[int, ...], set[str], object, TypeVar("T"), Callable),
        *(int | None, Size, Colour, datetime, UUID, RawValue, type(None), Payload),
    )
)


def outcome(work: Callable[[], object]) -> object:
    """What came of it, compared by its text: NaN is not NaN, and 1 is True, but their texts tell."""
    try:
        return repr(work())
    except Exception as error:
        return type(error), str(error)


@given(st.lists(st.one_of(JSON, OTHERS), max_size=3))
def test_values_are_encoded_as_the_sdk_does(given: list[Any]):
    assert outcome(lambda: Payloads.FromString(QUICK.encode(given))) == outcome(
        lambda: Payloads(payloads=SDK.to_payloads(given))
    )


@given(st.lists(st.tuples(JSON, HINTS), max_size=3))
def test_values_are_decoded_as_the_sdk_does(given: list[tuple[Any, Any]]):
    payloads = SDK.to_payloads([value for value, _ in given])
    hints = [hint for _, hint in given]
    data = Payloads(payloads=payloads).SerializeToString()
    assert outcome(lambda: QUICK.decode(data, hints)) == outcome(lambda: SDK.from_payloads(payloads, hints))
    assert outcome(lambda: QUICK.decode(data, None)) == outcome(lambda: SDK.from_payloads(payloads))


@given(
    st.sampled_from((b"json/plain", b"binary/null", b"binary/plain", b"json/protobuf", b"unheard/of", None)),
    st.one_of(st.binary(), st.text().map(lambda text: f'"{text}"'.encode("utf-16")), JSON.map(repr).map(str.encode)),
    HINTS,
)
def test_any_payload(encoding: bytes | None, data: bytes, hint: Any):
    """Payloads of any encoding are decoded as the SDK decodes them."""
    payload = Payload(metadata={} if encoding is None else {"encoding": encoding}, data=data)
    message = Payloads(payloads=[payload]).SerializeToString()
    assert outcome(lambda: QUICK.decode(message, [hint])) == outcome(lambda: SDK.from_payloads([payload], [hint]))


def test_more_types_than_values():
    """Types of arguments that were left out do not matter."""
    data = QUICK.encode(["a", 1])
    assert QUICK.decode(data, (str, int, dict)) == ["a", 1]
    assert QUICK.decode(data, (int,)) == ["a", 1], "too few types: none is used"
    assert QUICK.decode(b"", (int,)) == []


class Upper(DefaultPayloadConverter):
    def to_payloads(self, values: Any) -> list[Payload]:
        return super().to_payloads([str(value).upper() for value in values])


def test_other_converter():
    """A converter other than the SDK's default one takes no short cut."""
    assert is_default(DataConverter.default)
    other = DataConverter(payload_converter_class=Upper)
    assert not is_default(other)
    converter = ValueConverter(other.payload_converter, is_default=is_default(other))
    assert QUICK.decode(converter.encode(["quiet"]), None) == ["QUIET"]


def test_plain_values():
    """Plain values are encoded and decoded without the SDK's converter."""

    class Never(PayloadConverter):
        def to_payloads(self, values: Any) -> list[Payload]:
            raise AssertionError("asked")

        def from_payloads(self, payloads: Any, type_hints: Any = None) -> list[Any]:
            raise AssertionError("asked")

    quick = ValueConverter(Never(), is_default=True)
    plain = [None, True, 7, 0.5, "text", [1, "two"], {"three": 4}, b"bytes"]
    hints = (str, bool, int, float, str, list, dict[str, int], bytes)
    assert quick.decode(quick.encode(plain), hints) == plain
    assert quick.decode(quick.encode(plain), None) == plain
    for value, hint in zip(plain, hints, strict=True):
        assert quick.decode(quick.encode([value]), [hint]) == [value]
