"""Renders PostgreSQL's text form of a value as Sequin's JSON.

The relay's replication session fixes what the text form depends on (see `replication.SESSION`): ISO dates,
UTC, hex bytea, shortest floats, UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orjson import dumps

Renderer = Callable[[bytes], bytes]
"""Turns the text form of a value, which is not NULL, into JSON."""

BOOL, BYTEA, INT8, INT2, INT4, TEXT, OID, JSON, FLOAT4, FLOAT8 = 16, 17, 20, 21, 23, 25, 26, 114, 700, 701
DATE, TIMESTAMP, TIMESTAMPTZ, JSONB = 1082, 1114, 1184, 3802
UUID, VARCHAR, BPCHAR, NUMERIC = 2950, 1043, 1042, 1700

_ARRAYS: Final = {
    1000: BOOL, 1001: BYTEA, 1016: INT8, 1005: INT2, 1007: INT4, 1009: TEXT, 1028: OID, 199: JSON, 1021: FLOAT4,
    1022: FLOAT8, 1115: TIMESTAMP, 1185: TIMESTAMPTZ, 3807: JSONB,
}  # fmt: skip
"""Array types whose elements are not strings, and their elements' type."""

_TEXT_ARRAYS: Final = frozenset({
    1002, 1003, 1006, 1008, 1010, 1011, 1012, 1013, 1014, 1015, 1017, 1018, 1019, 1020, 1027, 1034, 1040, 1041,
    1182, 1183, 1187, 1231, 1263, 1270, 1561, 1563, 143, 271, 629, 651, 719, 775, 791, 2201, 2287, 2951, 3221, 3643,
    3645, 3735, 3770, 3905, 3907, 3909, 3911, 3913, 3927, 4073, 6150, 6151, 6152, 6153, 6155, 6157,
})  # fmt: skip
"""Built-in array types whose elements are rendered as strings."""


def render_text(raw: bytes) -> bytes:
    """A string."""
    return dumps(str(raw, "utf-8", "replace"))


def render_bool(raw: bytes) -> bytes:
    """`true` or `false`."""
    return b"true" if raw == b"t" else b"false"


def render_number(raw: bytes) -> bytes:
    """An integer, which is JSON already."""
    return raw


def render_float(raw: bytes) -> bytes:
    """A number with a fraction; a string for what JSON has no number for: `NaN`, `Infinity`, `-Infinity`."""
    if raw[-1:] in (b"N", b"y"):
        return b'"' + raw + b'"'
    return raw if b"." in raw or b"e" in raw else raw + b".0"


def render_bytea(raw: bytes) -> bytes:
    r"""The string `\x<hex>`."""
    return b'"\\' + raw + b'"'


def _date_time(raw: bytes, zone: bytes) -> bytes:
    if len(raw) < 19 or raw[10:11] != b" " or raw[-1:] == b"C":  # infinity, BC, or a year beyond 9999
        return b'"' + raw + b'"'
    micros = raw[20:] if raw[19:20] == b"." else b""
    return b'"' + raw[:10] + b"T" + raw[11:19] + b"." + micros.ljust(6, b"0") + zone + b'"'


def render_timestamp(raw: bytes) -> bytes:
    """`YYYY-MM-DDTHH:MM:SS.ffffff`; as PostgreSQL writes it when that form has no place for it."""
    return _date_time(raw, b"")


def render_timestamptz(raw: bytes) -> bytes:
    """`YYYY-MM-DDTHH:MM:SS.ffffffZ`; as PostgreSQL writes it when that form has no place for it."""
    return _date_time(raw[:-3], b"Z") if raw[-3:] == b"+00" else b'"' + raw + b'"'


def remembering(render: Renderer) -> Renderer:
    """Render the same text once while it repeats, as timestamps do within a transaction."""
    last: list[bytes] = [b"", b""]

    def cached(raw: bytes) -> bytes:
        if raw != last[0]:
            last[:] = raw, render(raw)
        return last[1]

    return cached


def array_of(render: Renderer) -> Renderer:
    """Render PostgreSQL's array text, of any number of dimensions, as nested lists."""

    def render_array(raw: bytes) -> bytes:
        at = raw.index(b"{")  # behind explicit bounds: [0:1]={1,2}
        out = bytearray()
        end = len(raw)
        while at < end:
            char = raw[at]
            if char == 0x7B:
                out += b"["
                at += 1
            elif char == 0x7D:
                out += b"]"
                at += 1
            elif char == 0x2C:
                out += b","
                at += 1
            elif char == 0x22:
                element, at = _quoted(raw, at + 1)
                out += render(element)
            else:
                start = at
                while raw[at] not in b",}":
                    at += 1
                element = raw[start:at]
                out += b"null" if element == b"NULL" else render(element)
        return bytes(out)

    return render_array


def _quoted(raw: bytes, at: int) -> tuple[bytes, int]:
    element = bytearray()
    while (char := raw[at]) != 0x22:
        if char == 0x5C:
            at += 1
            char = raw[at]
        element.append(char)
        at += 1
    return bytes(element), at + 1


_SCALARS: Final[dict[int, Renderer]] = {
    BOOL: render_bool,
    BYTEA: render_bytea,
    INT2: render_number,
    INT4: render_number,
    INT8: render_number,
    OID: render_number,
    JSON: render_number,
    JSONB: render_number,
    FLOAT4: render_float,
    FLOAT8: render_float,
    TIMESTAMP: render_timestamp,
    TIMESTAMPTZ: render_timestamptz,
}


def renderer(oid: int, type_name: str = "") -> Renderer:
    """Choose how a column is rendered.

    Args:
        oid: the column's type.
        type_name: its name when the type is not built in, as pgoutput announces it; `_x` is an array of `x`.
    """
    if oid in _ARRAYS:
        return array_of(_SCALARS.get(_ARRAYS[oid], render_text))
    if oid in _TEXT_ARRAYS or type_name.startswith("_"):
        return array_of(render_text)
    chosen = _SCALARS.get(oid, render_text)
    return remembering(chosen) if oid in (TIMESTAMP, TIMESTAMPTZ) else chosen
