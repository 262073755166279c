"""What recurs: a rule, its next moment by the calendar as a pure function, and the rule as a schedule of Temporal."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from temporalio import client as temporal

_REAL_DAY = 86_400
_DAYS = {"daily": 1, "weekly": 7, "monthly": 30}


@dataclass(frozen=True)
class Rule:
    """When something is due."""

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


def schedule_spec(rule: Rule) -> temporal.ScheduleSpec:
    """Return the rule as Temporal's schedules know it."""
    if rule.every is not None:
        return temporal.ScheduleSpec(intervals=[temporal.ScheduleIntervalSpec(every=rule.every)])
    days = {"daily": ["* * * *"], "weekly": [f"* * {rule.day % 7} *"], "monthly": _days_of_months(rule.day)}
    lines = [f"{rule.minute} {rule.hour} {day}" for day in days[rule.frequency]]
    return temporal.ScheduleSpec(cron_expressions=lines, time_zone_name=rule.zone)


def _days_of_months(day: int) -> list[str]:
    # A schedule for the 31st leaves out the months that have none. So each length of a month has a line of its own. The
    # last field is the year: a schedule knows those from 2000 to 2100.
    return [
        f"{day} 1,3,5,7,8,10,12 * *",
        f"{min(day, 30)} 4,6,9,11 * *",
        f"{min(day, 29)} 2 * 2000-2096/4",
        f"{min(day, 28)} 2 * 2001-2097/4,2002-2098/4,2003-2099/4,2100",
    ]


async def start_schedule(
    client: temporal.Client,
    name: str,
    spec: temporal.ScheduleSpec,
    workflow: Callable[..., Awaitable[Any]],
    *arguments: object,
    task_queue: str,
    overlap: temporal.ScheduleOverlapPolicy = temporal.ScheduleOverlapPolicy.SKIP,
    catchup: timedelta = timedelta(days=365),
    trigger_immediately: bool = False,
) -> temporal.ScheduleHandle:
    """Start a workflow again and again.

    Args:
        client: for Temporal.
        name: the id of the schedule. The ids of its runs begin with it.
        spec: when.
        workflow: its `run`.
        arguments: those of each run.
        task_queue: what the worker of the workflow polls.
        overlap: what becomes of a period that begins while the run of an earlier one goes on. SKIP: it has no run,
            unless an operator backfills it. BUFFER_ONE: one has a run later. BUFFER_ALL: all have.
        catchup: after an outage of Temporal itself the schedule makes up periods that are not older.
        trigger_immediately: whether the first run begins at once.
    """
    action = temporal.ScheduleActionStartWorkflow(workflow, args=arguments, id=name, task_queue=task_queue)
    policy = temporal.SchedulePolicy(overlap=overlap, catchup_window=catchup)
    schedule = temporal.Schedule(action, spec, policy)
    return await client.create_schedule(name, schedule, trigger_immediately=trigger_immediately)
