"""Packed arrays are the bytes that psycopg would send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Loader, PyFormat, Transformer
from psycopg.pq import Format

from delegator.postgres.arrays import bytea_array, int4_array, int8_array, text_array, with_arrays

INT8 = st.integers(-(2**63), 2**63 - 1)
INT4 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def load(packed: Any, oid: int) -> Any:
    loader: type[Loader] | None = psycopg.adapters.get_loader(oid, Format.BINARY)  # type: ignore[assignment]
    assert loader is not None
    return loader(oid).load(bytes(packed))


@pytest.mark.parametrize(
    ("pack", "oid", "items"),
    [
        (text_array, 1009, TEXT),
        (bytea_array, 1001, st.binary()),
        (int8_array, 1016, INT8),
        (int4_array, 1007, INT4),
    ],
)
def test_round_trip(pack: Callable[[Sequence[Any]], Any], oid: int, items: st.SearchStrategy[Any]) -> None:
    """Packed arrays are read as the values that were packed."""

    @given(st.lists(st.none() | items))
    def check(values: list[Any]) -> None:
        assert load(pack(values), oid) == values
        assert load(pack(tuple(values)), oid) == values

    check()


@pytest.mark.parametrize(
    ("packed", "oid"),
    [(text_array(["a"]), 1009), (bytea_array([b""]), 1001), (int8_array([1]), 1016), (int4_array([]), 1007)],
)
def test_dumper(packed: bytes, oid: int) -> None:
    """A connection with our dumper sends packed arrays unchanged."""
    dumper = Transformer(with_arrays()).get_dumper(packed, PyFormat.BINARY)
    assert (dumper.oid, dumper.format, bytes(dumper.dump(packed) or b"")) == (oid, Format.BINARY, packed)


def test_overflow() -> None:
    """Numbers that do not fit the type are refused."""
    with pytest.raises(Exception, match="int too large|'q' format|argument out of range"):
        int8_array([2**63])
    with pytest.raises(Exception, match="'i' format|argument out of range"):
        int4_array([2**31])
