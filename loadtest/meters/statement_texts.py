"""What the text of an SQL statement says: verb, table, and whose it is."""

from __future__ import annotations

import re
from typing import Final

OWN_MARK: Final = "/* loadtest */"
"""Comment in the load test's own statements, by which they are told from those of the measured programs."""

_LONGEST: Final = 200
_NAME: Final = r'(?:ONLY\s+)?("?\w+"?(?:\."?\w+"?)?)'
_WRITES: Final = re.compile(rf"\b(INSERT)\s+INTO\s+{_NAME}|\b(DELETE)\s+FROM\s+{_NAME}|\b(UPDATE)\s+{_NAME}\s", re.I)
_LOCKS: Final = re.compile(r"\b(FOR(\s+NO\s+KEY)?|DO)\s+UPDATE\b", re.I)
_READS: Final = re.compile(rf"\bFROM\s+{_NAME}(?!\w|\.|\s*\()", re.I)
_COMMENT: Final = re.compile(r"/\*.*?\*/|--[^\n]*", re.S)


def described(text: str) -> tuple[str, str, str]:
    """Return the verb of a statement, its table, and its beginning in one line.

    A statement with several parts is named after the first one that writes.

    Args:
        text: the statement, as PostgreSQL keeps it.
    """
    line = " ".join(_COMMENT.sub(" ", text).split())
    short = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    write = _WRITES.search(_LOCKS.sub(" ", line))
    if write is not None:
        verb, table = [part for part in write.groups() if part is not None]
        return verb.upper(), _bare(table), short
    verb = line.split(" ", 1)[0].rstrip(";").upper()
    if verb not in ("SELECT", "WITH"):
        return verb, "", short
    read = _READS.search(line)
    return "SELECT", _bare(read[1]) if read else "", short


def _bare(table: str) -> str:
    return table.replace('"', "").rsplit(".", 1)[-1]
