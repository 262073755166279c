import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.relay import values
from delegator.relay.values import renderer


@pytest.mark.parametrize(
    ("oid", "text", "expected"),
    [
        (values.INT8, "-9223372036854775808", -(2**63)),
        (values.FLOAT8, "1.5", 1.5),
        (values.FLOAT8, "1", 1.0),
        (values.FLOAT8, "1e+20", 1e20),
        (values.FLOAT8, "-0", -0.0),
        (values.FLOAT8, "NaN", "NaN"),
        (values.FLOAT4, "Infinity", "Infinity"),
        (values.FLOAT8, "-Infinity", "-Infinity"),
        (values.NUMERIC, "123.4500", "123.4500"),
        (values.BOOL, "t", True),
        (values.BOOL, "f", False),
        (values.JSONB, '{"a": [1, null, "x"]}', {"a": [1, None, "x"]}),
        (values.JSON, ' [1,\n "\\u00e9"]', [1, "é"]),
        (values.UUID, "7b6c2d1e-0000-4000-8000-000000000001", "7b6c2d1e-0000-4000-8000-000000000001"),
        (values.TEXT, 'a"b\\c\n\u0001ü😀', 'a"b\\c\n\u0001ü😀'),
        (values.BYTEA, "\\xdeadbeef", "\\xdeadbeef"),
        (values.BYTEA, "\\x", "\\x"),
        (values.TIMESTAMPTZ, "2024-01-01 00:00:00.123+00", "2024-01-01T00:00:00.123000Z"),
        (values.TIMESTAMPTZ, "2024-01-01 00:00:00+00", "2024-01-01T00:00:00.000000Z"),
        (values.TIMESTAMPTZ, "infinity", "infinity"),
        (values.TIMESTAMPTZ, "-infinity", "-infinity"),
        (values.TIMESTAMPTZ, "0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"),
        (values.TIMESTAMP, "2024-01-01 00:00:00.5", "2024-01-01T00:00:00.500000"),
        (values.TIMESTAMP, "12024-01-01 00:00:00", "12024-01-01 00:00:00"),
        (values.DATE, "2024-02-29", "2024-02-29"),
        (1083, "12:34:56.789", "12:34:56.789"),
        (1186, "1 day 02:00:00", "1 day 02:00:00"),
        (1007, "{1,NULL,3}", [1, None, 3]),
        (1007, "{}", []),
        (1007, "{{1,2},{3,4}}", [[1, 2], [3, 4]]),
        (1007, "[0:1]={5,6}", [5, 6]),
        (1009, '{a,"b c","d\\"e","f\\\\g","NULL",NULL,""}', ["a", "b c", 'd"e', "f\\g", "NULL", None, ""]),
        (1000, "{t,f}", [True, False]),
        (1001, '{"\\\\xde","\\\\xad"}', ["\\xde", "\\xad"]),
        (1231, "{1.10,2}", ["1.10", "2"]),
        (3807, '{"{\\"a\\": 1}",NULL}', [{"a": 1}, None]),
        (1185, '{"2024-01-01 00:00:00+00"}', ["2024-01-01T00:00:00.000000Z"]),
        (1022, "{1,NaN,NULL}", [1.0, "NaN", None]),
        (99_999, "any text", "any text"),
    ],
)
def test_a_value_is_rendered_as_sequin_does(oid: int, text: str, expected: object) -> None:
    rendered = orjson.loads(renderer(oid)(text.encode()))
    assert rendered == expected and type(rendered) is type(expected)


def test_arrays_of_a_type_that_is_not_built_in_are_known_by_name() -> None:
    assert orjson.loads(renderer(99_999, "_mood")(b"{ok,NULL}")) == ["ok", None]


nested = st.recursive(
    st.lists(st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1, max_size=4),
    lambda inner: st.lists(inner, min_size=1, max_size=3),
    max_leaves=12,
)


def as_postgresql(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "{" + ",".join(map(as_postgresql, value)) + "}"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(nested)
def test_any_nested_array_of_text_arrives_unchanged(array: list[object]) -> None:
    assert orjson.loads(renderer(1009)(as_postgresql(array).encode())) == array


def test_a_repeated_timestamp_is_rendered_once_and_a_new_one_anew() -> None:
    render = renderer(values.TIMESTAMPTZ)
    first, second = b"2024-01-01 00:00:00+00", b"2024-01-02 00:00:00+00"
    assert render(first) is render(first)
    assert render(second) == b'"2024-01-02T00:00:00.000000Z"'
    assert render(first) == b'"2024-01-01T00:00:00.000000Z"'
