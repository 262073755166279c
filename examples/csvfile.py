"""Reads CSV files of strangers, row by row, in memory that does not grow with the file."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Final, TextIO

_LONGEST_FIELD: Final = 64 * 1024
_LONGEST_LINE: Final = 4 * _LONGEST_FIELD
_DELIMITERS: Final = ",;\t"


class FileRefused(Exception):
    """The file can't be read as a whole. The message says why, and in which line."""


@dataclass(frozen=True)
class Row:
    """A row: the fields that were asked for, or what is wrong with it."""

    line: int
    """Where it begins in the file, from 1."""
    raw: str
    """All its fields, with a delimiter between them."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """By column, without white space around them; empty if the row has a problem."""
    problem: str | None = None


class CsvFile:
    """A file that is being read. What the header says is known after the first row."""

    def __init__(self, text: TextIO, columns: Sequence[str], delimiter: str | None = None) -> None:
        """Describe a file.

        Args:
            text: the opened file.
            columns: which the header must have, in any order and case.
            delimiter: between fields; None: it is found in the header.
        """
        self.delimiter = delimiter or ""
        self.unknown_columns: list[str] = []
        """Columns that nobody asked for."""
        self._text, self._columns = text, columns
        self._at_record, self._begin = True, 0

    def rows(self) -> Iterator[Row]:
        """Yield the rows after the header.

        Raises:
            FileRefused: the header, the encoding, or a field that does not end.
        """
        # The limit is the process's: csv has no other. Handlers that run beside this one set the same.
        csv.field_size_limit(_LONGEST_FIELD)
        lines = self._lines()
        header = next(lines, None)
        if header is None:
            raise FileRefused(f"the file is empty: it needs a header line with {', '.join(self._columns)}")
        outside_quotes = "".join(header.split('"')[::2])
        self.delimiter = self.delimiter or max(_DELIMITERS, key=outside_quotes.count)
        reader = csv.reader(chain([header], lines), delimiter=self.delimiter, strict=True)
        try:
            places = self._places(next(reader))
        except csv.Error as error:
            raise FileRefused(f"line {self._begin}: the header can't be read: {error}") from None
        while True:
            self._at_record = True
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "field limit" in str(error):
                    words = "a field has more than 64 KiB; perhaps a quote is not closed"
                    raise FileRefused(f"line {self._begin}: {words}") from None
                yield Row(self._begin, "", problem=str(error))
            else:
                yield self._row(fields, places)

    def _lines(self) -> Iterator[str]:
        """Yield lines. Only at the begin of a record is an empty line or a comment no part of a field."""
        for number in count(1):
            try:
                line = self._text.readline(_LONGEST_LINE)
            except UnicodeError:
                raise FileRefused(f"after line {number - 1}: the bytes do not fit the encoding") from None
            if len(line) >= _LONGEST_LINE:
                raise FileRefused(f"line {number}: a field has more than 64 KiB")
            if not line:
                return
            if self._at_record:
                if line.startswith("#") or not line.strip("\r\n \t"):
                    continue
                self._at_record, self._begin = False, number
            yield line

    def _places(self, header: list[str]) -> dict[str, int]:
        names = [name.strip().lower() for name in header]
        missing = [column for column in self._columns if column not in names]
        twice = [column for column in self._columns if names.count(column) > 1]
        if missing or twice:
            problem = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(twice)} twice"
            raise FileRefused(f"the header {problem}")
        self.unknown_columns = [name for name in names if name not in self._columns]
        return {column: names.index(column) for column in self._columns}

    def _row(self, fields: list[str], places: dict[str, int]) -> Row:
        raw = self.delimiter.join(fields)
        width = len(self.unknown_columns) + len(self._columns)
        if "\0" in raw:
            return Row(self._begin, raw.replace("\0", "\N{REPLACEMENT CHARACTER}"), problem="has a zero byte")
        if len(fields) != width:
            return Row(self._begin, raw, problem=f"has {len(fields)} fields, and the header has {width}")
        return Row(self._begin, raw, {column: fields[place].strip() for column, place in places.items()})


def encoding_of(file: Path, charset: str | None) -> tuple[str, bool]:
    """Return a file's encoding, and whether it is guessed. The charset is what its sender says; None: nothing."""
    with file.open("rb") as data:
        if data.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16", False
    if charset is not None and codecs.lookup(charset).name != "utf-8":
        return charset, False
    try:
        with file.open(encoding="utf-8") as text:
            while text.read(_LONGEST_LINE):
                pass
    except UnicodeDecodeError:
        return "cp1252", True
    return "utf-8-sig", False


def open_text(file: Path, encoding: str) -> TextIO:
    """Open a file for `CsvFile`."""
    # A guessed code page has holes. One unknown letter is no reason to refuse a file.
    return file.open(encoding=encoding, errors="replace" if encoding == "cp1252" else "strict", newline="")
