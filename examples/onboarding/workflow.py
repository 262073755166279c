"""The workflows: an import, and the approval of its users."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from delegator import delegate, delegate_map

with workflow.unsafe.imports_passed_through():
    from examples.onboarding import tasks
    from examples.onboarding.contracts import Carried, Decision, Slice, Terms


@dataclass(frozen=True)
class Counts:
    """What an import has found."""

    rows: int = 0
    bad: int = 0
    duplicates: int = 0
    state: str = "checking"


@workflow.defn
class ImportUsers:
    """Reads a file and makes users of its rows."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._answer: Literal["accept", "discard"] | None = None

    @workflow.run
    async def run(self, import_id: str, terms: Terms) -> Counts:
        """Split, check, perhaps ask the maker, load."""
        split = await delegate(tasks.split_rows, import_id, heartbeat_timeout=timedelta(seconds=60))
        if split.refused is not None:
            return await self._end(import_id, terms, Counts(state="refused"), split.refused)
        slices = [Slice(import_id, first, last) for first, last in split.ranges]
        bad = sum(await delegate_map(tasks.check_rows, slices))
        self._counts = Counts(split.rows, bad)
        if bad * 100 > split.rows * terms.max_bad_percent:
            self._counts = Counts(split.rows, bad, state="waiting")
            await delegate(tasks.set_state, import_id, "waiting", None)
            await workflow.wait_condition(lambda: self._answer is not None)
            if self._answer == "discard":
                return await self._end(import_id, terms, Counts(split.rows, bad, state="discarded"))
        duplicates = sum(await delegate_map(tasks.load_users, slices))
        return await self._end(import_id, terms, Counts(split.rows, bad, duplicates, "done"))

    @workflow.signal
    def answer(self, answer: Literal["accept", "discard"]) -> None:
        """Take the good rows of a bad file, or none. The first answer counts."""
        self._answer = self._answer or answer

    @workflow.query
    def counts(self) -> Counts:
        """Return what has been found so far."""
        return self._counts

    async def _end(self, import_id: str, terms: Terms, counts: Counts, reason: str | None = None) -> Counts:
        self._counts = counts
        await delegate(tasks.set_state, import_id, counts.state, reason)
        await self._begin_approval(import_id, terms)
        return counts

    async def _begin_approval(self, import_id: str, terms: Terms) -> None:
        name = f"approval-{import_id}"
        if self._counts.state == "done":
            arguments = [import_id, terms, True, None]
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
        self._waiting = 0

    @workflow.run
    async def run(self, import_id: str, terms: Terms, imported: bool, carried: Carried | None) -> str:
        """Apply decisions in the order in which they came. Return why the approval ended."""
        now, day = workflow.now(), timedelta(seconds=terms.reminder_seconds)
        if carried is None:
            carried = Carried([], now + timedelta(seconds=terms.expires_seconds), now + day)
        # Decisions of the last run come before those that the signals of this run have brought.
        self._decisions = [*carried.decisions, *self._decisions]
        self._imported = self._imported or imported
        remind_at, reminders, taken = carried.remind_at, carried.reminders, 0
        await workflow.wait_condition(lambda: self._imported)
        self._waiting = await delegate(tasks.undecided, import_id)
        had_users = self._waiting > 0 or carried.reminders > 0
        while self._waiting or self._decisions:
            if taken >= terms.most_decisions or workflow.info().is_continue_as_new_suggested():
                rest = Carried(self._decisions, carried.expires_at, remind_at, reminders)
                workflow.continue_as_new(args=[import_id, terms, True, rest])
            if self._decisions:
                await delegate(tasks.apply_decision, self._decisions[0])
                del self._decisions[0]
                taken += 1
            elif workflow.now() >= carried.expires_at:
                system = Decision(
                    f"expiry-{import_id}", import_id, "system", "rejected", everyone=True, reason="expired"
                )
                await delegate(tasks.apply_decision, system)
                return "expired"
            elif workflow.now() >= remind_at:
                reminders += 1
                await delegate(tasks.remind, import_id, reminders, self._waiting)
                remind_at += day
            else:
                await self._until(min(remind_at, carried.expires_at))
            self._waiting = await delegate(tasks.undecided, import_id)
        return "decided" if had_users else "nothing to decide"

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        """Take a decision; the run applies it."""
        self._decisions.append(decision)

    @workflow.signal
    def imported(self) -> None:
        """Say that the import has ended. Decisions that came before are applied from here on."""
        self._imported = True

    @workflow.query
    def waiting(self) -> int:
        """Return how many users wait for a decision."""
        return self._waiting

    async def _until(self, moment: datetime) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: bool(self._decisions), timeout=moment - workflow.now())
