"""Tables as the templates draw them: cells of text, links, times and buttons. Templates escape every text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from delegator.durations import short_duration
from delegator.operating.states import State

_LONGEST: Final = 40
_KEPT: Final = 18
_STATE_WORDS = {state: state.value.replace("_", " ") for state in State}


@dataclass(frozen=True, slots=True)
class Button:
    """A button that changes something, or asks whether to."""

    label: str
    """What it says."""
    path: str
    """Where the form goes."""
    fields: Mapping[str, str]
    """What the form carries."""
    about: str = ""
    """What the button is about, for those who can't see the row."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table."""

    text: str = ""
    """What it says."""
    href: str | None = None
    """Where a click leads."""
    kind: str = ""
    """`number`, `state`, `code` or nothing."""
    at: datetime | None = None
    """The exact time that the text stands for."""
    tone: str = ""
    """`bad`, `warn`, `good` or nothing."""
    buttons: Sequence[Button] = ()
    """Buttons behind the text."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table."""

    cells: Sequence[Cell]
    """One for each column."""
    value: str | None = None
    """What its checkbox stands for; None: it has none."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    caption: str
    """What it shows, for those who can't see the page."""
    columns: Sequence[str]
    """The names of its columns."""
    rows: Sequence[Row] = field(default_factory=list)
    """Its rows."""
    empty: str = "Nothing."
    """What stands there without rows."""


def url(path: str, **parameters: object) -> str:
    """Return a path with a query; parameters that are None or empty are left out."""
    given = {name: str(value) for name, value in parameters.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def number(count: int | None, *, tone: str = "", href: str | None = None) -> Cell:
    """Return the cell of a number. Zero is quiet."""
    text = "" if count is None else f"{count:,}"
    return Cell(text, href if count else None, "number", tone=tone if count else "quiet")


def age(now: datetime, moment: datetime | None) -> Cell:
    """Return the cell of a time, as its age."""
    return Cell() if moment is None else Cell(short_duration(now - moment), kind="number", at=moment)


def duration(length: timedelta | None) -> str:
    """Return a duration as people read it; None: a dash."""
    return "–" if length is None else short_duration(length)  # noqa: RUF001


def state(name: str) -> Cell:
    """Return the cell of a state."""
    tones = {"running": "good", "backing_off": "warn", "dead": "bad", "delivering": "warn"}
    return Cell(_STATE_WORDS.get(State(name), name), kind="state", tone=tones.get(name, ""))


def job(job_id: str) -> Cell:
    """Return the cell of a job's id."""
    return Cell(shortened(job_id), url("/job", id=job_id), "code")


def shortened(text: str) -> str:
    """Return a long id without its middle. Ids often differ at their ends."""
    return text if len(text) <= _LONGEST else f"{text[:_KEPT]}…{text[-_KEPT:]}"
