"""The schemas describe what the data converters really write and read."""

from __future__ import annotations

import copy
import enum
import json
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, Union

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field
from temporalio import converter
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DefaultPayloadConverter, PayloadConverter

from delegator.contracts import DelegatedType, collect_types, contract, delegated
from delegator.contracts.json_schema import describe_types
from delegator.errors import ConfigurationError


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Old(str, enum.Enum):  # noqa: UP042 - as older code has it
    A = "a"


class Permission(enum.IntFlag):
    READ = 1
    WRITE = 2


UserId = NewType("UserId", int)


@dataclass(frozen=True)
class Line:
    """What was bought.

    More is said here.
    """

    article: str
    number: int = 1
    price: float | None = None
    tags: list[str] = field(default_factory=list)
    picture: bytes = b""
    weight: int = field(init=False, default=3)


@dataclass
class Tree:
    name: str
    children: list[Tree]
    parent: Optional[Tree] = None  # noqa: UP045 - as older code has it


class Address(TypedDict):
    street: str
    floor: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: float = 0.0


SCALARS = [int, float, bool, str, type(None), bytes, bytearray, datetime, uuid.UUID, Colour, Level, Old, Permission]
OTHERS = [UserId, Line, Tree, Address, Point, Literal["a", 1, True, None], Literal[Colour.RED], tuple[()], list, dict]
KEYS = [str, int, float, bool, Colour, Level, Literal["a", "b"]]


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda one: list[one]),
        inner.map(lambda one: tuple[one, ...]),
        inner.map(lambda one: deque[one]),
        inner.map(lambda one: Optional[one]),  # noqa: UP045
        st.lists(inner, min_size=1, max_size=3).map(lambda all_: tuple[tuple(all_)]),
        st.lists(inner, min_size=1, max_size=3).map(lambda all_: Union[tuple(all_)]),  # noqa: UP007
        st.tuples(st.sampled_from(KEYS), inner).map(lambda pair: dict[pair[0], pair[1]]),
        st.sampled_from([set[int], frozenset[str], set[uuid.UUID], frozenset[Colour]]),
    )


HINTS = st.recursive(st.sampled_from([*SCALARS, *OTHERS]), _nested, max_leaves=4)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def schemas(hint: Any, payloads: type[PayloadConverter] = DefaultPayloadConverter) -> tuple[Any, Any]:
    """The schemas of a type as the only argument and as the result."""
    declared = DelegatedType("one", arg_types=(hint,), return_type=hint, arg_names=("value",))
    found = describe_types({"one": declared}, payloads)
    if found.problems:
        raise ConfigurationError(found.problems[0])
    document = json.loads(json.dumps(found.schemas["one"].document()))
    for schema in (document["arguments"], document["result"]):
        Draft202012Validator.check_schema(schema)
    return document["arguments"], document["result"]


def fits(schema: Any, value: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def as_json(value: Any, payloads: PayloadConverter) -> Any:
    """The JSON that stands for an argument: null and the base64 text are the gateway's for the two binary encodings."""
    payload = payloads.to_payload(value)
    if payload.metadata["encoding"] == b"binary/null":
        return None
    return json.loads(payload.data) if payload.metadata["encoding"] != b"binary/plain" else "AA=="


def read(value: Any, hint: Any, payloads: PayloadConverter) -> Any:
    payload = PayloadConverter.default.to_payload({"as": "json"})
    payload.data = json.dumps(value).encode()
    return payloads.from_payload(payload, hint)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(spot for key, one in inner for spot in spots(one, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    return with_member(value, path[0], changed(value[path[0]], path[1:], change))


def with_member(value: Any, key: Any, member: Any) -> Any:
    value = copy.copy(value)
    value[key] = member
    return value


def shorter(value: Any) -> Any:
    return dict(list(value.items())[1:]) if isinstance(value, dict) else value[:-1]


def longer(value: Any, more: Any) -> Any:
    return {**value, str(more): more} if isinstance(value, dict) else [*value, more]


@st.composite
def variations(draw: st.DrawFn, value: Any) -> Any:
    """The same value with another member, one more or one less."""
    path = draw(st.sampled_from(spots(value)))
    more = draw(PLAIN)

    def change(there: Any) -> Any:
        if isinstance(there, dict | list) and there and draw(st.booleans()):
            return shorter(there) if draw(st.booleans()) else longer(there, more)
        return more

    return changed(value, path, change)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_default_converter(data: st.DataObject) -> None:
    """What Temporal's converter writes fits the schema, and it reads what fits: the written, and variations of it."""
    payloads = PayloadConverter.default
    hint = data.draw(HINTS)
    arguments, result = schemas(hint)
    value = data.draw(st.from_type(hint))
    written = as_json(value, payloads)
    assert fits(arguments, [written])
    if isinstance(value, bytes):
        written = list(value)  # as a result, bytes may also be JSON
    assert fits(result, written)
    read(written, hint, payloads)
    varied = data.draw(variations(written))
    if fits(result, varied):
        read(varied, hint, payloads)


class Article(BaseModel):
    name: str = Field(alias="articleName", max_length=10)
    price: Decimal
    day: date
    takes: timedelta = timedelta(1)
    line: Line | None = None


def articles() -> st.SearchStrategy[Article]:
    return st.builds(
        Article,
        articleName=st.text(max_size=10),
        price=st.decimals(allow_nan=False, allow_infinity=False, places=2),
        day=st.dates(),
        takes=st.timedeltas(),
        line=st.none() | st.builds(Line, article=st.text(), picture=st.just(b"x")),
    )


@settings(max_examples=50, deadline=None)
@given(articles())
def test_pydantic_converter(article: Article) -> None:
    """With pydantic's converter the schemas are pydantic's: by alias, with constraints, dates and decimals."""
    payloads = PydanticPayloadConverter()
    arguments, result = schemas(list[Article], PydanticPayloadConverter)
    written = as_json([article], payloads)
    assert fits(arguments, [written])
    assert fits(result, written)
    assert not fits(result, [{**written[0], "articleName": "x" * 11}])
    assert not fits(arguments, [[{**written[0], "price": {}}]])


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -1, 2**70], [1.5, "1", None, True]),
        (datetime, ["2024-02-29T12:00:00Z", "2024-01-01T00:00:00.5", "2024-01-01T00:00:00+05:30"], ["2024-01-01", 5]),
        (uuid.UUID, ["12345678-1234-5678-1234-567812345678"], ["12345678", 5]),
        (Colour, ["red"], ["green", 1]),
        (Level, [1, 2], [3, "1"]),
        (dict[int, str], [{"-7": "a"}], [{"a": "b"}, {"1": 2}, []]),
        (tuple[int, str], [[1, "a"]], [[1], [1, "a", 2], ["a", 1]]),
        (list[bytes], [[[0, 255]]], [["AA=="], [[256]]]),
        (Line, [{"article": "a"}, {"article": "a", "more": 1}], [{}, {"article": 1}, {"article": "a", "price": "1"}]),
        (Tree, [{"name": "a", "children": [{"name": "b", "children": []}]}], [{"name": "a", "children": [{}]}]),
        (Address, [{"street": "a"}], [{}, {"street": "a", "floor": "b"}]),
        (Point, [[1, 2.5]], [[1], [1, "a"], {"x": 1, "y": 2}]),
        (Line | None, [None, {"article": "a"}], [1]),
        (type(None), [None], [0, ""]),
    ],
    ids=[
        "int",
        "datetime",
        "uuid",
        "text-enum",
        "int-enum",
        "int-keys",
        "tuple",
        "bytes",
        "dataclass",
        "recursive",
        "typed-dict",
        "named-tuple",
        "optional",
        "none",
    ],
)
def test_results(hint: Any, good: list[Any], bad: list[Any]) -> None:
    """A result that fits can be read as its type, and one that does not fit is another type's."""
    _, result = schemas(hint)
    for value in good:
        assert fits(result, value), value
        read(value, hint, PayloadConverter.default)
    for value in bad:
        assert not fits(result, value), value


@pytest.mark.parametrize(
    "hint", [Decimal, date, timedelta, object, Article, enum.Enum("Plain", "A"), dict[uuid.UUID, int]]
)
def test_refused(hint: Any) -> None:
    """What Temporal's converter can't convert has no schema; the message names it, its place and what to do."""

    @dataclass
    class Holder:
        member: hint

    Holder.__annotations__["member"] = hint
    with pytest.raises(ConfigurationError, match=r"one: .* can't convert .* \(Holder\.member\): "):
        schemas(Holder)


def test_names_and_defaults() -> None:
    """Arguments have their names, those with a default may be missing, and a class is described in its own words."""

    @delegated(queue="mails")
    async def send(line: Line, copies: int = 1) -> None: ...

    @contract()
    def plain(anything, *more): ...  # type: ignore[no-untyped-def]

    found = describe_types(collect_types([send, plain]), DefaultPayloadConverter)
    arguments = found.schemas["send"].arguments
    assert (found.schemas["send"].queue, found.problems) == ("mails", ())
    assert [one["title"] for one in arguments["prefixItems"]] == ["line", "copies"]
    assert arguments["$defs"]["Line"]["description"] == "What was bought."
    line = {"article": "a", "number": 1, "price": None, "tags": [], "picture": [], "weight": 3}
    assert fits(arguments, [line]) and fits(arguments, [line, 2])
    assert not any(fits(arguments, wrong) for wrong in ([], [line, 2, 3], [{"article": "a"}], [line, "2"]))
    assert fits(found.schemas["plain"].arguments, [1, "any"]) and fits(found.schemas["plain"].result, {"a": 1})


def test_one_problem_of_two() -> None:
    """A type that can't be described does not hide the others, and a dynamic type has no schema."""
    types = {
        "bad": DelegatedType("bad", arg_types=(Decimal,)),
        "good": DelegatedType("good", arg_types=(bytes, RawValue, Timestamp)),
        "(dynamic)": DelegatedType("(dynamic)"),
    }
    found = describe_types(types, DefaultPayloadConverter)
    assert list(found.schemas) == ["good"]
    assert len(found.problems) == 1
    assert found.problems[0].startswith("bad: Temporal's default data converter can't convert Decimal (argument 1)")
    assert [one.get("contentEncoding") for one in found.schemas["good"].arguments["prefixItems"]] == [
        "base64",
        None,
        None,
    ]


def test_two_classes_of_one_name() -> None:
    """Each has its own definition."""

    def other() -> type:
        @dataclass
        class Line:
            number: int

        return Line

    _, result = schemas(tuple[Line, other()])
    assert len(result["$defs"]) == 2
    assert fits(result, [{"article": "a"}, {"number": 1}])
    assert not fits(result, [{"number": 1}, {"article": "a"}])


def test_unknown_converter() -> None:
    """Nothing is said about the JSON of a converter that is not known."""

    class Other(converter.DefaultPayloadConverter):
        pass

    with pytest.raises(ConfigurationError, match=r"Other writes is not known.*DELEGATOR_DATA_CONVERTER"):
        schemas(int, Other)
