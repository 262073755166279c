"""Sorts ended attempts by the way in which each is brought to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.api.failure.v1 import Failure

from delegator.completion.retry import Retry
from delegator.postgres.dead_letters import Reason
from delegator.wire.outcomes import Outcome, OutcomeStatus
from http_workers.attempt import Ended
from http_workers.failure_log import log_failure
from http_workers.job import Job
from http_workers.refusals import Refusals
from http_workers.verdict import judge


@dataclass(frozen=True, slots=True)
class Ways:
    """The attempts of a batch, by the way in which each is brought to its end."""

    snoozed: list[tuple[Job, timedelta]] = field(default_factory=list)
    """Not begun: free again after a delay."""
    retries: list[tuple[Ended, timedelta, Failure]] = field(default_factory=list)
    """Failed: tried again after a delay."""
    waited: list[tuple[Ended, Outcome]] = field(default_factory=list)
    """A workflow waits for the outcome."""
    dead: list[tuple[Ended, Outcome, Reason]] = field(default_factory=list)
    """Given up: the job becomes a dead letter."""
    overdue: list[Ended] = field(default_factory=list)
    """Timed out, after other attempts. The failure of the attempt before may be needed."""
    unknown: list[Ended] = field(default_factory=list)
    """Of a type without a handler here."""
    tasks: list[Ended] = field(default_factory=list)
    """A Temporal activity task waits for the outcome."""
    asynchronous: list[Ended] = field(default_factory=list)
    """Left to a client, which completes them."""
    plain: list[Ended] = field(default_factory=list)
    """Completed, and nobody waits for the result: the row goes."""

    @property
    def final(self) -> Iterator[Ended]:
        """The attempts that no other one follows."""
        yield from (ended for ended, _ in self.waited)
        yield from (ended for ended, _, _ in self.dead)
        yield from self.tasks
        yield from self.plain


class Sorter:
    """Decides what follows each attempt, and logs those that failed."""

    def __init__(
        self,
        *,
        identity: str,
        refusals: Refusals,
        refusal_grace: timedelta,
        log_messages: bool,
        forget: Callable[[Ended], None],
    ) -> None:
        """Prepare.

        Args:
            identity: this worker's name in failures.
            refusals: bounds what refused jobs cost.
            refusal_grace: how long a job may be refused in all.
            log_messages: also log the message and the traceback of a failed attempt.
            forget: called before a job is given back: its next message may come at once.
        """
        self._identity = identity
        self._refusals = refusals
        self._refusal_grace = refusal_grace
        self._log_messages = log_messages
        self._forget = forget

    def sort(self, batch: Sequence[Ended]) -> Ways:
        """Sort a batch. Attempts whose jobs this worker has lost are left out."""
        ways = Ways()
        for ended in batch:
            job = ended.job
            if job.lost or ended.released:
                continue
            if ended.snooze is not None:
                self._forget(ended)
                ways.snoozed.append((job, ended.snooze))
                continue
            if ended.refusal is Reason.UNKNOWN_TYPE:
                ways.unknown.append(ended)
                continue
            if ended.failure is not None:
                self._note_failure(ended, ended.failure)
            if ended.refusal is Reason.LOCKED and ended.failure is not None:
                delay = self._refusals.offer_after(job, Reason.LOCKED)
                self._sort_failed(ended, ended.failure, ways, delay)
            else:
                self._place(ended, ways)
        return ways

    def _place(self, ended: Ended, ways: Ways) -> None:
        job = ended.job
        if ended.asynchronous:
            ways.asynchronous.append(ended)
        elif job.row.task_token is not None:
            ways.tasks.append(ended)
        elif ended.failure is not None:
            if job.timed_out is not None and job.attempt > 1:
                ways.overdue.append(ended)
            else:
                self._sort_failed(ended, ended.failure, ways)
        elif ended.result is not None:
            if job.row.workflow_id is None and not job.row.has_waiter:
                ways.plain.append(ended)
            else:
                ways.waited.append((ended, Outcome(OutcomeStatus.COMPLETED, ended.result)))

    def _note_failure(self, ended: Ended, failure: Failure) -> None:
        if ended.refusal is not None:
            self._refusals.note(ended, ended.refusal)
        log_failure(
            ended.job, failure, ended.at, log_messages=self._log_messages, is_expected=ended.refusal is not None
        )

    async def sort_unknown(self, ways: Ways, served: Callable[[], Awaitable[set[str]]]) -> None:
        """Sort the attempts of `unknown`.

        Args:
            ways: the batch.
            served: asks which types live workers of the queue have handlers for.
        """
        await self._refusals.look(served)
        for ended in ways.unknown:
            self._refusals.note(ended, Reason.UNKNOWN_TYPE)
            if ended.failure is not None:
                self._sort_failed(ended, ended.failure, ways, self._refusals.offer_after(ended.job))

    def sort_overdue(self, ended: Ended, last_failure: Failure | None, ways: Ways) -> None:
        """Sort an attempt of `overdue`.

        Args:
            ended: the attempt.
            last_failure: the failure of the attempt before, if it is known.
            ways: the batch.
        """
        if ended.failure is not None:
            self._sort_failed(ended, ended.failure, ways, last_failure=last_failure)

    def _sort_failed(
        self,
        ended: Ended,
        failure: Failure,
        ways: Ways,
        offer_after: timedelta | None = None,
        last_failure: Failure | None = None,
    ) -> None:
        verdict = judge(
            ended,
            failure,
            identity=self._identity,
            now=asyncio.get_running_loop().time(),
            grace=self._refusal_grace,
            offer_after=offer_after,
            last_failure=last_failure,
        )
        if isinstance(verdict, Retry):
            ways.retries.append((ended, verdict.delay, failure))
        elif ended.job.row.task_token is not None:
            ways.tasks.append(ended)
        elif verdict.dead_letter_reason is None:
            ways.waited.append((ended, verdict.outcome))
        else:
            ways.dead.append((ended, verdict.outcome, verdict.dead_letter_reason))
