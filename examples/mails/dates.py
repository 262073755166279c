"""When mails are due: a pure function of the calendar."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

_REAL_DAY = 86_400
_DAYS = {"daily": 1, "weekly": 7, "monthly": 30}


@dataclass(frozen=True)
class Rule:
    """When a mail is due."""

    frequency: Literal["daily", "weekly", "monthly"] = "daily"
    zone: str = "UTC"
    """A name of the IANA time zone database."""
    hour: int = 9
    minute: int = 0
    day: int = 1
    """Weekly: 1 (Monday) to 7. Monthly: 1 to 31; a month that is shorter has its last day instead."""
    day_seconds: int = _REAL_DAY
    """For demonstrations. If a day has another length, there is no calendar: a period has 1, 7 or 30 such days."""

    @property
    def every(self) -> timedelta | None:
        """The length of a period without a calendar, which counts from 1970, as a schedule's interval does."""
        if self.day_seconds == _REAL_DAY:
            return None
        return timedelta(seconds=self.day_seconds * _DAYS[self.frequency])


def next_due(rule: Rule, after: datetime) -> datetime:
    """Return the first due moment later than another one, in UTC.

    A time that the clocks leave out in spring is due as many minutes later; one that comes twice in autumn is due at
    the first. A schedule leaves the day out in spring.
    """
    if rule.every is not None:
        periods = (after - datetime.fromtimestamp(0, UTC)) // rule.every + 1
        return datetime.fromtimestamp(0, UTC) + periods * rule.every
    zone = ZoneInfo(rule.zone)
    day = after.astimezone(zone).date()
    while True:
        due = datetime.combine(day, time(rule.hour, rule.minute), zone).astimezone(UTC)
        if due > after and _is_due_on(rule, day):
            return due
        day += timedelta(days=1)


def _is_due_on(rule: Rule, day: date) -> bool:
    if rule.frequency == "weekly":
        return day.isoweekday() == rule.day
    return rule.frequency == "daily" or day.day == min(rule.day, monthrange(day.year, day.month)[1])
