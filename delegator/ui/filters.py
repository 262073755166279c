"""Filters in the query of a page or in a form, and places in lists as they stand in links."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from delegator.config import Settings
from delegator.durations import parse_moment
from delegator.errors import ConfigurationError
from delegator.operating.states import UNFINISHED, State
from delegator.postgres.dead_letters import LetterPlace, Reason, Selection
from delegator.postgres.job_views import JobSelection, Place

NAMES: Final = ("queue", "state", "type", "error", "reason", "workflow_id", "until")
"""The fields of a filter."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a person has filtered by. An empty value selects all."""

    values: Mapping[str, str]
    """The fields that are not empty, as they were written."""
    queue: str | None
    job_type: str | None
    states: tuple[State, ...]
    error: str | None
    reason: str | None
    workflow_id: str | None
    until: Any

    @classmethod
    def read(cls, given: Mapping[str, Any], settings: Settings) -> Filter:
        """Read the fields.

        Args:
            given: the query or the form.
            settings: the declared queues.

        Raises:
            ConfigurationError: a value is not one.
        """
        values = {name: text for name in NAMES if (text := str(given.get(name) or "").strip())}
        queue, state, reason, until = (values.get(name) for name in ("queue", "state", "reason", "until"))
        if queue is not None and queue not in settings.queues:
            raise ConfigurationError(f"queue {queue}: not a declared queue ({', '.join(settings.queues)})")
        if state is not None and state not in list(State):
            raise ConfigurationError(f"state {state}: none of {', '.join(State)}")
        if reason is not None and reason not in list(Reason):
            raise ConfigurationError(f"reason {reason}: none of {', '.join(Reason)}")
        return cls(
            values,
            queue,
            values.get("type"),
            () if state is None else (State(state),),
            values.get("error"),
            reason,
            values.get("workflow_id"),
            None if until is None else parse_moment(until, "older than"),
        )

    def jobs(
        self,
        after: Place | None = None,
        default: tuple[State, ...] = (*UNFINISHED, State.DELIVERING),
        limit: int | None = None,
    ) -> JobSelection:
        """Return the selection of jobs."""
        return JobSelection(
            job_type=self.job_type,
            workflow_id=self.workflow_id,
            error=self.error,
            until=self.until,
            states=self.states or default,
            after=after,
            limit=limit,
        )

    def letters(self, before: LetterPlace | None = None, limit: int | None = None) -> Selection:
        """Return the selection of dead letters."""
        return Selection(
            queue=self.queue,
            job_type=self.job_type,
            workflow_id=self.workflow_id,
            error=self.error,
            reason=self.reason,
            until=self.until,
            before=before,
            limit=limit,
        )


def written(place: Place | LetterPlace | None) -> str | None:
    """Return a place as it stands in a link."""
    if place is None:
        return None
    return urlsafe_b64encode(orjson.dumps([place[0].isoformat(), place[1]])).decode()


def place(text: str | None) -> tuple[datetime, Any] | None:
    """Read a place; None: there is none.

    Raises:
        ConfigurationError: it is not one.
    """
    if not text:
        return None
    try:
        at, key = orjson.loads(urlsafe_b64decode(text))
        moment = datetime.fromisoformat(at)
    except (ValueError, TypeError, Base64Error):
        raise ConfigurationError("the link is not complete: begin with the first page") from None
    if moment.tzinfo is None or not isinstance(key, str | int):
        raise ConfigurationError("the link is not complete: begin with the first page")
    return moment, key


def job_place(text: str | None) -> Place | None:
    """Read the place of a job."""
    found = place(text)
    return None if found is None else Place(found[0], str(found[1]))


def letter_place(text: str | None) -> LetterPlace | None:
    """Read the place of a dead letter.

    Raises:
        ConfigurationError: it is not one.
    """
    found = place(text)
    if found is None:
        return None
    if not isinstance(found[1], int):
        raise ConfigurationError("the link is not complete: begin with the first page")
    return LetterPlace(found[0], found[1])
