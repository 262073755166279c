"""Reads CSV files of strangers, row by row, in memory that does not grow with the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

COLUMNS = ("name", "born", "city")
LONGEST_FIELD = 64 * 1024
LONGEST_LINE = 4 * LONGEST_FIELD
DELIMITERS = ",;\t"


class FileRefused(Exception):
    """The file can't be read as a whole. The message says why, and in which line."""


@dataclass(frozen=True)
class Row:
    """A row: the fields that the header names, or what is wrong with it."""

    line: int
    """Where it begins in the file, from 1."""
    raw: str
    name: str = ""
    born: str = ""
    city: str = ""
    problem: str | None = None


@dataclass
class CsvFile:
    """A file that is being read. What the header says is known after the first row."""

    text: io.TextIOBase
    delimiter: str | None = None
    """None: it is found in the header."""
    unknown_columns: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """Yield the rows after the header.

        Raises:
            FileRefused: the header, the encoding, or a field that does not end.
        """
        # The limit is the process's: csv has no other. Handlers that run beside this one set the same.
        csv.field_size_limit(LONGEST_FIELD)
        lines = _Lines(self.text)
        header = lines.next_record_line()
        if header is None:
            raise FileRefused("the file is empty: it needs a header line with name, born and city")
        self.delimiter = self.delimiter or max(DELIMITERS, key=_outside_quotes(header).count)
        lines.push_back(header)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        try:
            places = self._places(next(reader))
        except csv.Error as error:
            raise FileRefused(f"line {lines.begin}: the header can't be read: {error}") from None
        while True:
            lines.at_record = True
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "field limit" in str(error):
                    raise FileRefused(
                        f"line {lines.begin}: a field has more than 64 KiB; perhaps a quote is not closed"
                    ) from None
                yield Row(lines.begin, "", problem=str(error))
                continue
            yield _row(lines.begin, fields, places, len(self.unknown_columns) + len(COLUMNS), self.delimiter)

    def _places(self, header: list[str]) -> dict[str, int]:
        names = [name.strip().lower() for name in header]
        missing = [column for column in COLUMNS if column not in names]
        twice = [column for column in COLUMNS if names.count(column) > 1]
        if missing or twice:
            problem = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(twice)} twice"
            raise FileRefused(f"the header {problem}")
        self.unknown_columns = [name for name in names if name not in COLUMNS]
        return {column: names.index(column) for column in COLUMNS}


class _Lines:
    """The lines for csv.reader. Only at the begin of a record is an empty line or a comment no part of a field."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._pushed: str | None = None
        self._number = 0
        self.at_record = True
        self.begin = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.next_record_line() if self.at_record else self._read()
        self.at_record = False
        if not line:
            raise StopIteration
        return line

    def next_record_line(self) -> str | None:
        if self._pushed is not None:
            pushed, self._pushed = self._pushed, None
            return pushed
        while line := self._read():
            if line.strip("\r\n \t") and not line.startswith("#"):
                self.begin = self._number
                return line
        return None

    def push_back(self, line: str) -> None:
        self._pushed = line

    def _read(self) -> str:
        try:
            line = self._text.readline(LONGEST_LINE)
        except UnicodeError:
            raise FileRefused(f"after line {self._number}: the bytes do not fit the encoding") from None
        self._number += 1
        if len(line) >= LONGEST_LINE:
            raise FileRefused(f"line {self._number}: a field has more than 64 KiB")
        return line


def open_chunks(chunk: Callable[[int], bytes | None], encoding: str) -> io.TextIOBase:
    """Open a file that is kept in numbered chunks.

    Args:
        chunk: returns the chunk with a number, from 0; None after the last.
        encoding: Python's name of the encoding.
    """
    # A guessed code page has holes. One unknown letter is no reason to refuse a file.
    errors = "replace" if encoding == "cp1252" else "strict"
    return io.TextIOWrapper(io.BufferedReader(_Chunks(chunk)), encoding=encoding, errors=errors, newline="")


class _Chunks(io.RawIOBase):
    def __init__(self, chunk: Callable[[int], bytes | None]) -> None:
        self._chunk = chunk
        self._number = 0
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest and (data := self._chunk(self._number)) is not None:
            self._number += 1
            self._rest = memoryview(data)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _row(line: int, fields: list[str], places: dict[str, int], width: int, delimiter: str) -> Row:
    raw = delimiter.join(fields).replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(fields) != width:
        return Row(line, raw, problem=f"has {len(fields)} fields, and the header has {width}")
    if any("\0" in value for value in fields):
        return Row(line, raw, problem="has a zero byte")
    return Row(line, raw, **{column: fields[place].strip() for column, place in places.items()})


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])
