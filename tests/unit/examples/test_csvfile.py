from __future__ import annotations

import io
import tracemalloc
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.csvfile import CsvFile, FileRefused, Row, encoding_of, open_text
from examples.onboarding.rules import born_on, problem_of

COLUMNS = ("name", "born", "city")


def rows_of(data: bytes, encoding: str = "utf-8-sig", delimiter: str | None = None) -> list[Row]:
    text = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline="")
    return list(CsvFile(text, COLUMNS, delimiter).rows())


def fields(rows: list[Row]) -> list[tuple[str, ...]]:
    assert [row.problem for row in rows if row.problem] == []
    return [tuple(row.fields[column] for column in COLUMNS) for row in rows]


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


@pytest.mark.parametrize(
    ("encoding", "charset", "found"),
    [
        ("utf-8", None, ("utf-8-sig", False)),
        ("utf-8-sig", "UTF8", ("utf-8-sig", False)),
        ("utf-16", None, ("utf-16", False)),
        ("cp1252", None, ("cp1252", True)),
        ("cp1252", "utf-8", ("cp1252", True)),
        ("latin-1", "latin-1", ("latin-1", False)),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, charset: str | None, found: tuple[str, bool]) -> None:
    """An encoding is found, or believed; what is neither declared nor UTF-8 is guessed."""
    file = tmp_path / "users.csv"
    file.write_bytes("name;born;city\nZoë;1985-12-10;Køln\n".encode(encoding))
    assert encoding_of(file, charset) == found
    with open_text(file, found[0]) as text:
        assert fields(list(CsvFile(text, COLUMNS).rows())) == [("Zoë", "1985-12-10", "Køln")]


def test_quotes() -> None:
    """Within quotes a delimiter, a line end, a # and a doubled quote belong to the field. Lines are counted."""
    data = b'name,born,city\n"A ""x"", y",1985-12-10,"one\n# two\n\nthree"\nB,1985-12-10,"#4"\n'
    rows = rows_of(data)
    assert fields(rows) == [('A "x", y', "1985-12-10", "one\n# two\n\nthree"), ("B", "1985-12-10", "#4")]
    assert [row.line for row in rows] == [2, 6]


def test_bad_rows() -> None:
    """A bad row has its line and a reason, and the rows after it are read."""
    rows = rows_of(b'name,born,city\na,b\n"x"y,1,2\nz\0,1,2\nAda,1985-12-10,London\n"open,1,2\n')
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
        rows_of(data)


def test_header_only() -> None:
    assert rows_of(b"name,born,city\n") == []


def test_memory(tmp_path: Path) -> None:
    """100,000 rows are read in memory that does not grow with their number."""
    file = tmp_path / "users.csv"
    with file.open("w") as writing:
        writing.write("name,born,city\n")
        writing.writelines(f"Ada {number},1985-12-10,London\n" for number in range(100_000))
    tracemalloc.start()
    try:
        with open_text(file, "utf-8") as text:
            assert sum(1 for _ in CsvFile(text, COLUMNS).rows()) == 100_000
        assert encoding_of(file, None) == ("utf-8-sig", False)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(
    st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=8),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_as_naive_model(users: list[tuple[str, str, str]], delimiter: str, end: str) -> None:
    """What is written with every field in quotes is read again, whatever letters and line ends are in it."""

    def quoted(value: str) -> str:
        return '"' + value.replace('"', '""') + '"'

    lines = [delimiter.join(("name", "born", "city")), *(delimiter.join(map(quoted, user)) for user in users)]
    rows = rows_of(end.join(lines).encode(), "utf-8", delimiter)
    assert fields(rows) == [tuple(value.strip() for value in user) for user in users]


def test_cp1252_holes(tmp_path: Path) -> None:
    """A byte that the guessed code page does not have costs a letter, and not the file."""
    file = tmp_path / "users.csv"
    file.write_bytes(b"name,born,city\nA\x81,1,2\n")
    with open_text(file, "cp1252") as text:
        assert [row.fields["name"] for row in CsvFile(text, COLUMNS).rows()] == ["A\N{REPLACEMENT CHARACTER}"]


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
