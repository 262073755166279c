"""The workflow: page after page, a window of pages at a time, and a new run after some hundred pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError

from delegator import delegate, delegate_map
from examples.jobs import run_job

with workflow.unsafe.imports_passed_through():
    from examples.bonuses.tasks import Page, Search, add_bonuses, next_pages

_SCHEDULED = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_MOST_FAILURES = 100


@dataclass(frozen=True)
class Report:
    """What has been done so far."""

    users: int = 0
    """Users who have a bonus."""
    failures: int = 0
    """Pages whose users got nothing. When their cause is mended, a run for the same period completes them."""
    examples: list[str] = field(default_factory=list)
    """The first failures."""

    def plus(self, page: Page, result: int | BaseException) -> Report:
        """Return the report with one more page."""
        if isinstance(result, int):
            return replace(self, users=self.users + result)
        if not isinstance(result, ActivityError):
            raise result
        line = f"users {page.first} to {page.last}: {result.cause}"
        return replace(self, failures=self.failures + 1, examples=[*self.examples, line][:_MOST_FAILURES])


@dataclass(frozen=True)
class Job:
    """Whose bonuses are added, and how."""

    shop: str
    period: str | None = None
    """None: the month in which a schedule has started the run."""
    users_per_page: int = 5_000
    """Users of one job. One is the naive way: it is right, too, and has five thousand times the jobs."""
    window: int = 20
    """Pages that are in flight at once."""
    most_pages: int = 200
    """After so many pages it continues as new, so a history stays short however many users there are."""
    classic: bool = False
    """With ordinary activities."""
    after: int = 0
    report: Report = field(default_factory=Report)


@workflow.defn
class AddBonuses:
    """Adds the bonuses of a period."""

    @workflow.run
    async def run(self, job: Job) -> Report:
        """Go through the users in the order of their ids. Users who are added meanwhile come last."""
        period, report, after, pages = job.period or _month(), job.report, job.after, 0
        while found := await _find(job, Search(job.shop, after, job.users_per_page, job.window)):
            if pages >= job.most_pages:
                workflow.continue_as_new(replace(job, period=period, after=after, report=report))
            window = [Page(job.shop, period, first, last) for first, last in found]
            for page, result in zip(window, await _add(job, window), strict=True):
                report = report.plus(page, result)
            after, pages = window[-1].last, pages + len(window)
        return report


def _month() -> str:
    due = workflow.info().typed_search_attributes.get(_SCHEDULED)
    if due is None:
        raise ApplicationError("only a schedule starts this workflow without a period", non_retryable=True)
    return f"{due:%Y-%m}"


async def _find(job: Job, search: Search) -> list[tuple[int, int]]:
    pages: list[tuple[int, int]] = await (run_job if job.classic else delegate)(next_pages, search)
    return pages


async def _add(job: Job, pages: Sequence[Page]) -> Sequence[int | BaseException]:
    """Add the bonuses of all pages. A page that fails stops no other."""
    if not job.classic:
        return await delegate_map(add_bonuses, pages, return_exceptions=True)
    calls = [run_job(add_bonuses, page) for page in pages]
    counts: list[int | BaseException] = await asyncio.gather(*calls, return_exceptions=True)
    return counts
