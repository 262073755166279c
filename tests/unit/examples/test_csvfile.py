from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.onboarding.csvfile import CsvFile, FileRefused, Row, open_chunks
from examples.onboarding.rules import born_on, problem_of


def rows_of(data: bytes, encoding: str = "utf-8-sig", size: int = 7, delimiter: str | None = None) -> list[Row]:
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    return list(CsvFile(open_chunks(lambda n: chunks[n] if n < len(chunks) else None, encoding), delimiter).rows())


def fields(rows: list[Row]) -> list[tuple[str, str, str]]:
    assert [row.problem for row in rows if row.problem] == []
    return [(row.name, row.born, row.city) for row in rows]


ADA = [("Ada", "1985-12-10", "London")]


@pytest.mark.parametrize(
    "data",
    [
        b"name,born,city\nAda,1985-12-10,London\n",
        b"name,born,city\nAda,1985-12-10,London",
        b"name,born,city\r\nAda,1985-12-10,London\r\n",
        b"name,born,city\rAda,1985-12-10,London\r",
        b"NAME;Born; City \nAda;1985-12-10;London\n",
        b"city\tname\tborn\nLondon\tAda\t1985-12-10\n",
        b"# made by hand\n\n  \nname,born,city\n# Ada, of course\n\nAda,1985-12-10,London\n\n",
        b"nick,name,born,city,nick\nA,Ada,1985-12-10,London,B\n",
        b'"na""me",name,born,city\n"a\nb",Ada,1985-12-10,London\n',
        b"\xef\xbb\xbfname,born,city\nAda,1985-12-10,London\n",
    ],
    ids=["lf", "no end", "crlf", "cr", "semicolon", "tab", "comments", "unknown", "quoted header", "mark"],
)
def test_forms(data: bytes) -> None:
    """Delimiters, line ends, comments, blank lines, the order of columns, unknown columns, a byte order mark."""
    assert fields(rows_of(data)) == ADA


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252", "latin-1"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_encodings(encoding: str, size: int) -> None:
    data = "name;born;city\nZoë;1985-12-10;Køln\n".encode(encoding)
    assert fields(rows_of(data, encoding, size)) == [("Zoë", "1985-12-10", "Køln")]


def test_quotes() -> None:
    """Within quotes a delimiter, a line end, a # and a doubled quote belong to the field. Lines are counted."""
    data = b'name,born,city\n"A ""x"", y",1985-12-10,"one\n# two\n\nthree"\nB,1985-12-10,"#4"\n'
    rows = rows_of(data)
    assert fields(rows) == [('A "x", y', "1985-12-10", "one\n# two\n\nthree"), ("B", "1985-12-10", "#4")]
    assert [row.line for row in rows] == [2, 6]


def test_bad_rows() -> None:
    """A bad row has its line and a reason, and the rows after it are read."""
    rows = rows_of(b'name,born,city\na,b\n"x"y,1,2\nz\0,1,2\nAda,1985-12-10,London\n"open,1,2\n', size=1000)
    assert [(row.line, row.problem is not None) for row in rows] == [
        (2, True),
        (3, True),
        (4, True),
        (5, False),
        (6, True),
    ]
    assert "fields" in str(rows[0].problem) and "zero byte" in str(rows[2].problem)
    assert all("\0" not in row.raw for row in rows)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n# nothing\n", "the file is empty"),
        (b"name,city\n", "lacks born"),
        (b"name,born,city,Name\n", "has name twice"),
        (b"name,born,city\n" + b"x" * 10_000_000 + b",1,2\n", "line 2: a field has more than 64 KiB"),
        (b'name,born,city\n"' + b"x\n" * 50_000, "line 2: a field has more than 64 KiB; perhaps a quote"),
        (b"name,born,city\n\xff\n", "do not fit the encoding"),
    ],
    ids=["empty", "comments", "column", "twice", "long field", "open quote", "encoding"],
)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(FileRefused, match=reason):
        rows_of(data, size=65_536)


def test_header_only() -> None:
    assert rows_of(b"name,born,city\n") == []


def test_memory() -> None:
    """100,000 rows are read in memory that does not grow with their number."""

    def pieces() -> Iterator[bytes]:
        yield b"name,born,city\n"
        for number in range(1_000):
            yield b"".join(b"Ada %d,1985-12-10,London\n" % (number * 100 + row) for row in range(100))

    made = pieces()
    tracemalloc.start()
    try:
        assert sum(1 for _ in CsvFile(open_chunks(lambda _: next(made, None), "utf-8")).rows()) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(
    st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 50),
)
def test_as_naive_model(users: list[tuple[str, str, str]], delimiter: str, end: str, size: int) -> None:
    """What is written with every field in quotes is read again, whatever letters and line ends are in it."""

    def quoted(value: str) -> str:
        return '"' + value.replace('"', '""') + '"'

    lines = [delimiter.join(("name", "born", "city")), *(delimiter.join(map(quoted, user)) for user in users)]
    rows = rows_of(end.join(lines).encode(), "utf-8", size, delimiter)
    assert fields(rows) == [tuple(value.strip() for value in user) for user in users]


def test_cp1252_holes() -> None:
    """A byte that the guessed code page does not have costs a letter, and not the file."""
    text = open_chunks(lambda n: b"name,born,city\nA\x81,1,2\n" if n == 0 else None, "cp1252")
    assert isinstance(text, io.TextIOWrapper)
    assert [row.name for row in CsvFile(text).rows()] == ["A\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2000-02-29", date(2000, 2, 29)),
        ("29.2.2000", date(2000, 2, 29)),
        ("1900-02-29", None),
        ("29.02.2001", None),
        ("2000-2-29", None),
        ("\N{FULLWIDTH DIGIT TWO}000-01-01", None),
        ("", None),
        ("0000-01-01", None),
    ],
)
def test_dates(text: str, day: date | None) -> None:
    assert born_on(text) == day


@pytest.mark.parametrize(
    ("name", "born", "city", "problem"),
    [
        ("李小龍", "1940-11-27", "香港", None),
        ("", "1940-11-27", "X", "the name has 0"),
        ("x" * 101, "1940-11-27", "X", "the name has 101"),
        ("Ada", "2030-01-01", "X", "born is in the future"),
        ("Ada", "soon", "X", "born is no date"),
        ("Ada", "1940-11-27", "a\nb", "the city has a control character"),
    ],
)
def test_rules(name: str, born: str, city: str, problem: str | None) -> None:
    found = problem_of(name, born, city, date(2026, 1, 1))
    assert (found is None) if problem is None else str(found).startswith(problem)
