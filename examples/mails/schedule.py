"""A mailing as a schedule of Temporal."""

from __future__ import annotations

from calendar import isleap, monthrange
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
)

from examples.mails.dates import Rule
from examples.mails.workflow import Mailing, MailPeriod, Terms

_YEARS = range(2000, 2101)  # those that a schedule knows


async def schedule_mailing(
    client: Client,
    mailing: str,
    rule: Rule,
    terms: Terms,
    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP,
    task_queue: str = "mails",
) -> ScheduleHandle:
    """Mail all subscribers of a mailing by a rule. A mailing has one schedule for each time zone.

    Args:
        client: for Temporal.
        mailing: the name of the mailing; its schedule has the same one.
        rule: when.
        terms: what holds for each mail.
        overlap: what becomes of a period that begins while an earlier one is still being mailed. SKIP: it gets no mail
            unless an operator backfills it. BUFFER_ONE: one is mailed later. BUFFER_ALL: all are.
        task_queue: what the worker of the workflow polls.
    """
    action = ScheduleActionStartWorkflow(
        MailPeriod.run, Mailing(mailing, terms), id=f"mail-{mailing}", task_queue=task_queue
    )
    # After an outage of Temporal itself the schedule makes up periods that are not older than the window.
    policy = SchedulePolicy(overlap=overlap, catchup_window=timedelta(days=1))
    return await client.create_schedule(mailing, Schedule(action, schedule_spec(rule), policy))


def schedule_spec(rule: Rule) -> ScheduleSpec:
    """Return the rule as Temporal's schedules know it."""
    if rule.every is not None:
        return ScheduleSpec(intervals=[ScheduleIntervalSpec(every=rule.every)])
    every_day, every_month = [ScheduleRange(1, 31)], [ScheduleRange(1, 12)]
    week = [ScheduleRange(rule.day % 7) if rule.frequency == "weekly" else ScheduleRange(0, 6)]
    days = _days_of_months(rule.day) if rule.frequency == "monthly" else [(every_day, every_month, [])]
    calendars = [
        ScheduleCalendarSpec(
            hour=[ScheduleRange(rule.hour)],
            minute=[ScheduleRange(rule.minute)],
            day_of_month=day,
            month=months,
            year=years,
            day_of_week=week,
        )
        for day, months, years in days
    ]
    return ScheduleSpec(calendars=calendars, time_zone_name=rule.zone)


def _days_of_months(day: int) -> list[tuple[list[ScheduleRange], list[ScheduleRange], list[ScheduleRange]]]:
    # A schedule for the 31st leaves out the months that have none. So each length of a month has a calendar of its own.
    calendars = []
    for sample in (2023, 2024):  # a year of 365 days and a leap year
        years = [ScheduleRange(year) for year in _YEARS if isleap(year) == isleap(sample)]
        lengths = {month: monthrange(sample, month)[1] for month in range(1, 13)}
        for due in sorted({min(day, length) for length in lengths.values()}):
            months = [ScheduleRange(month) for month, length in lengths.items() if min(day, length) == due]
            calendars.append(([ScheduleRange(due)], months, years))
    return calendars
