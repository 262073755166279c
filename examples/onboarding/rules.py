"""What a valid user is."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_GERMAN = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", re.ASCII)
_LONGEST = 100


def born_on(text: str) -> date | None:
    """Return the date that a text stands for: 2001-02-28 or 28.2.2001; None: it is no date."""
    if found := _ISO.fullmatch(text):
        year, month, day = found.groups()
    elif found := _GERMAN.fullmatch(text):
        day, month, year = found.groups()
    else:
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def problem_of(name: str, born: str, city: str, today: date) -> str | None:
    """Return what is wrong with a user; None: nothing."""
    for what, text in (("name", name), ("city", city)):
        if not 1 <= len(text) <= _LONGEST:
            return f"the {what} has {len(text)} characters, and 1 to {_LONGEST} are allowed"
        if any(unicodedata.category(letter) == "Cc" for letter in text):
            return f"the {what} has a control character"
    day = born_on(born)
    if day is None:
        return "born is no date: write 2001-12-31 or 31.12.2001"
    return "born is in the future" if day > today else None
