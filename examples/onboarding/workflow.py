"""The workflows: an import, and the approval of its users.

They are written with ordinary activities: `--dispatch` alone decides whether these become delegated jobs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    import examples.onboarding.tasks as tasks
    from examples.jobs import run_job
    from examples.onboarding.contracts import SLICE, Carried, Decision, Report, Terms

_AT_ONCE = 100
"""Slices that are loaded at once. Temporal allows 2,000 activities in flight."""
_LONG = {"start_to_close_timeout": timedelta(hours=1), "heartbeat_timeout": timedelta(minutes=1)}
"""Of the job that reads a file. Without heartbeats its worker counts as dead."""


@workflow.defn
class ImportUsers:
    """Reads a file and makes users of its rows."""

    def __init__(self) -> None:
        self._report = Report()
        self._answer: Literal["accept", "discard"] | None = None

    @workflow.run
    async def run(self, import_id: str, terms: Terms) -> Report:
        """Read, perhaps ask the maker, and load."""
        report: Report = await run_job(
            tasks.read_file,
            import_id,
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=timedelta(minutes=1),
        )
        if report.bad * 100 > report.rows * terms.max_bad_percent:
            await self._show(import_id, replace(report, state="waiting"))
            await workflow.wait_condition(lambda: self._answer is not None)
            if self._answer == "discard":
                report = replace(report, state="discarded")
        if report.state == "checking":
            report = replace(report, duplicates=await self._load(import_id, report.last_line), state="done")
        await self._show(import_id, report)
        await self._begin_approval(import_id, terms)
        return report

    @workflow.signal
    def answer(self, answer: Literal["accept", "discard"]) -> None:
        """Take the good rows of a bad file, or none. The first answer counts."""
        self._answer = self._answer or answer

    @workflow.query
    def report(self) -> Report:
        """Return what has been found so far."""
        return self._report

    async def _show(self, import_id: str, report: Report) -> None:
        self._report = report
        await run_job(tasks.set_state, import_id, report.state, report.reason)

    async def _load(self, import_id: str, last_line: int) -> int:
        """Make users of all good rows, and return how many rows were duplicates."""
        duplicates = 0
        for begin in range(1, last_line + 1, SLICE * _AT_ONCE):
            firsts = range(begin, min(begin + SLICE * _AT_ONCE, last_line + 1), SLICE)
            jobs = [run_job(tasks.load_users, import_id, first, first + SLICE - 1) for first in firsts]
            duplicates += sum(await asyncio.gather(*jobs))
        return duplicates

    async def _begin_approval(self, import_id: str, terms: Terms) -> None:
        name, arguments = f"approval-{import_id}", [import_id, terms, True, None]
        if self._report.state == "done":
            abandon = ParentClosePolicy.ABANDON
            with suppress(WorkflowAlreadyStartedError):  # by a decision that came before the import had ended
                await workflow.start_child_workflow(Approval.run, args=arguments, id=name, parent_close_policy=abandon)
                return
        with suppress(ApplicationError):  # there is none, or it has ended
            await workflow.get_external_workflow_handle(name).signal("imported")


@workflow.defn
class Approval:
    """Waits until somebody has decided about all users of an import."""

    def __init__(self) -> None:
        self._decisions: list[Decision] = []
        self._imported = False

    @workflow.run
    async def run(self, import_id: str, terms: Terms, imported: bool, carried: Carried | None) -> str:
        """Apply decisions in the order in which they came. Return why the approval ended."""
        now, day = workflow.now(), timedelta(seconds=terms.reminder_seconds)
        if carried is None:
            carried = Carried([], now + timedelta(seconds=terms.expires_seconds), now + day)
        # Decisions of the last run come before those that the signals of this run have brought.
        self._decisions = [*carried.decisions, *self._decisions]
        remind_at, reminders, taken = carried.remind_at, carried.reminders, 0
        await workflow.wait_condition(lambda: imported or self._imported)
        waiting = await run_job(tasks.undecided, import_id)
        had_users = waiting > 0 or carried.reminders > 0
        while waiting or self._decisions:
            if taken >= terms.most_decisions or workflow.info().is_continue_as_new_suggested():
                rest = Carried(self._decisions, carried.expires_at, remind_at, reminders)
                workflow.continue_as_new(args=[import_id, terms, True, rest])
            if self._decisions:
                await run_job(tasks.apply_decision, self._decisions[0])
                del self._decisions[0]
                taken += 1
            elif workflow.now() < min(remind_at, carried.expires_at):
                await self._until(min(remind_at, carried.expires_at))
            elif remind_at < carried.expires_at:
                reminders += 1
                await run_job(tasks.remind, import_id, reminders, waiting)
                remind_at += day
            else:
                everyone = Decision(f"expiry-{import_id}", import_id, "system", "rejected", [], True, "expired")
                await run_job(tasks.apply_decision, everyone)
                return "expired"
            waiting = await run_job(tasks.undecided, import_id)
        return "decided" if had_users else "nothing to decide"

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        """Take a decision; the run applies it."""
        self._decisions.append(decision)

    @workflow.signal
    def imported(self) -> None:
        """Say that the import has ended. Decisions that came before are applied from here on."""
        self._imported = True

    async def _until(self, moment: datetime) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: bool(self._decisions), timeout=moment - workflow.now())
