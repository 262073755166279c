"""One queue at a gateway: polls get its jobs, and what workers say about them is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from msgspec import UNSET
from temporalio.service import RPCError

from delegator.gateway.access import Scope
from delegator.gateway.attempts import Attempts, Begun, EntryError
from delegator.gateway.dispatch import Dispatcher
from delegator.gateway.finishing import Finishing
from delegator.gateway.job_tokens import JobToken
from delegator.gateway.leases import TermLeases
from delegator.gateway.timers import Timers
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.queue_asynchronous import AsynchronousStatements
from delegator.postgres.queue_gateway import GatewayStatements, Kept
from delegator.postgres.queue_table import Claimed
from delegator.postgres.shares import Lender
from delegator.wire.outcomes import OutcomeStatus
from delegator.wire.worker_protocol import (
    ACCEPTED,
    LEASE_SECONDS,
    LOST,
    Answer,
    Beat,
    Completion,
    Extension,
    JobFailure,
    Poll,
    Release,
    rejected,
)
from delegator.wire.worker_protocol import Job as JobBody
from http_workers.activity_tasks import ActivityTasks
from http_workers.attempt import Ended
from http_workers.job import Job

_SLOW_SECONDS: Final = 5.0
_UNTIL_GRACE_MS: Final = 1_000
T = TypeVar("T", Beat, Extension, Completion, JobFailure, Release)
Named = tuple[JobToken, T]
"""An entry of a request with the job token in it."""


class GatewayQueue:
    """One queue at a gateway."""

    def __init__(
        self,
        *,
        pool: Lender,
        statements: GatewayStatements,
        attempts: Attempts,
        leases: TermLeases,
        dispatcher: Dispatcher,
        finishing: Finishing,
        activity_tasks: ActivityTasks,
        database: DatabaseWatch,
    ) -> None:
        """Prepare.

        Args:
            pool: connections.
            statements: of the queue.
            attempts: reads rows, and makes ended attempts.
            leases: hold the jobs.
            dispatcher: has the claimed jobs.
            finishing: writes how attempts ended.
            activity_tasks: takes the heartbeats of Temporal's activity tasks.
            database: gets each success and each error of what no request waits for.
        """
        self._pool = pool
        self._statements = statements
        self._attempts = attempts
        self._leases = leases
        self._dispatcher = dispatcher
        self._finishing = finishing
        self._activity_tasks = activity_tasks
        self._database = database
        self._open = AsynchronousStatements(statements.queue)
        self._timers = Timers(self._time_out)

    async def poll(self, request: Poll, is_there: Callable[[], bool]) -> list[JobBody]:
        """Wait for jobs, and give them to a worker.

        Args:
            request: what it asked for.
            is_there: returns whether the worker still waits for the reply.

        Raises:
            psycopg.Error: the database does not answer. The jobs wait for another poll.
        """
        jobs = await self._dispatcher.wait(request.types, int(request.max_jobs), request.wait_seconds)
        try:
            begun = await self._begin(jobs, request)
        except BaseException:
            self._dispatcher.give_all(jobs)
            raise
        if not is_there():
            self._dispatcher.give_all([job for job, _ in begun])
            return []
        for _, one in begun:
            if one.token.until_ms is not None:
                self._timers.set(one.token)
        return [one.body for _, one in begun]

    async def _begin(self, jobs: Sequence[Job], request: Poll) -> list[tuple[Job, Begun]]:
        raw = request.payloads == "raw"
        begun: list[tuple[Job, Begun]] = []
        moved: list[tuple[Job, float]] = []
        over: list[Ended] = []
        for job in jobs:
            one = await self._attempts.begin(job, raw=raw, call=request.call, lease_seconds=request.lease_seconds)
            if isinstance(one, Ended):
                over.append(one)
                continue
            begun.append((job, one))
            if one.lease_seconds != LEASE_SECONDS:
                moved.append((job, one.lease_seconds))
        if moved:
            await self._move([(job.held, seconds, None) for job, seconds in moved])
        for ended in over:  # last, because an error before it gives all jobs to others
            self._finishing.start(ended)
        return begun

    async def _move(self, beats: Sequence[tuple[tuple[str, int], float, bytes | None]]) -> dict[str, bool]:
        """Put jobs under leases that live as long as asked. Return those that still run, and whether each is to stop.

        Args:
            beats: job id and fencing token, seconds, details of a heartbeat in stored form.
        """
        terms = {seconds: await self._leases.term(seconds) for seconds in {seconds for _, seconds, _ in beats}}
        rows = [Kept(*held, terms[seconds].lease_id, details) for held, seconds, details in beats]
        # Before the statement: if its answer is lost, the leases must not be taken for empty.
        for held, seconds, _ in beats:
            self._leases.moved(terms[seconds], *held)
        async with self._pool.connection() as connection:
            return await self._statements.keep(connection, rows)

    async def _find(self, entries: Iterable[tuple[JobToken, Any]]) -> dict[str, Claimed]:
        held = sorted({(token.job_id, token.fencing_token) for token, _ in entries})
        async with self._pool.connection() as connection:
            return await self._statements.find(connection, held)

    def _running(self, token: JobToken, rows: dict[str, Claimed], scope: Scope) -> Job | Answer:
        """Return the job of a token, or why nothing can be said about it."""
        row = rows.get(token.job_id)
        if row is None or row.fencing_token != token.fencing_token:
            return LOST
        if not scope.allows_type(row.job_type):
            return rejected("forbidden", "the token is not for this type")
        try:
            job = self._attempts.running(row, token)
        except EntryError as error:
            return rejected(error.code, error.detail)
        if token.until_ms is not None and time.time() * 1000 > token.until_ms + _UNTIL_GRACE_MS:
            self._timers.set(token)
            return LOST
        return job

    async def heartbeat(self, entries: Sequence[Named[Beat]], scope: Scope) -> list[Answer]:
        """Keep jobs, and say which are to stop."""
        rows = await self._find(entries)
        answers: list[Answer | None] = []
        beats: list[tuple[tuple[str, int], float, bytes | None]] = []
        tasks: list[Job] = []
        for token, said in entries:
            job = self._running(token, rows, scope)
            if isinstance(job, Answer):
                answers.append(job)
                continue
            try:
                details = await self._attempts.details(job, said.details, said.payloads)
            except EntryError as error:
                answers.append(rejected(error.code, error.detail))
                continue
            answers.append(None)
            if job.row.task_token is not None:
                job.details = [] if details is None else self._attempts.payloads(details[0])
                tasks.append(job)
            beats.append(
                (job.held, self._kept_seconds(job, said.lease_seconds), None if details is None else details[1])
            )
        return await self._kept(answers, beats, tasks)

    async def extend(self, entries: Sequence[Named[Extension]], scope: Scope) -> list[Answer]:
        """Let workers be silent for longer."""
        rows = await self._find(entries)
        answers: list[Answer | None] = []
        beats: list[tuple[tuple[str, int], float, bytes | None]] = []
        for token, said in entries:
            job = self._running(token, rows, scope)
            if isinstance(job, Answer):
                answers.append(job)
            else:
                answers.append(None)
                beats.append((job.held, self._kept_seconds(job, said.lease_seconds), None))
        return await self._kept(answers, beats, ())

    async def _kept(
        self,
        answers: Sequence[Answer | None],
        beats: Sequence[tuple[tuple[str, int], float, bytes | None]],
        tasks: Sequence[Job],
    ) -> list[Answer]:
        last = {held: (held, seconds, details) for held, seconds, details in beats}
        kept = await self._move(list(last.values())) if last else {}
        stopped: dict[str, bool] = {}
        if tasks:
            alive = await asyncio.gather(*(self._beat(job) for job in tasks))
            for job, is_alive in zip(tasks, alive, strict=True):
                if is_alive:
                    stopped[job.job_id] = job.cancel_requested
                else:
                    kept.pop(job.job_id, None)
        waiting = iter(beats)
        return [answer or self._held(next(waiting), kept, stopped) for answer in answers]

    async def _beat(self, job: Job) -> bool:
        """Send a heartbeat of an activity task to Temporal. Return whether the task still waits, as far as is known."""
        try:
            return await self._activity_tasks.heartbeat(job)
        except (RPCError, RuntimeError):  # Temporal is away, or a lazy client could not connect
            return True

    @staticmethod
    def _held(
        beat: tuple[tuple[str, int], float, bytes | None], kept: dict[str, bool], stopped: dict[str, bool]
    ) -> Answer:
        (job_id, _), seconds, _ = beat
        if job_id not in kept:
            return LOST
        return Answer("cancel" if kept[job_id] or stopped.get(job_id) else "held", lease_seconds=seconds)

    @staticmethod
    def _kept_seconds(job: Job, asked: float) -> float:
        limit = job.options.heartbeat_timeout
        return asked if limit is None or job.row.task_token is not None else min(asked, limit.total_seconds())

    async def complete(self, entries: Sequence[Named[Completion]], scope: Scope) -> list[Answer]:
        """End attempts with their results."""

        async def end(job: Job, said: Completion) -> Ended | Answer:
            job.asked_for_client = said.by_signal
            ended = await self._attempts.completed(job, said)
            if said.payloads is UNSET or self._attempts.has_codec or not _is_awaited(job):
                return ended
            return ACCEPTED if await self._store_as_sent(job, ended.stored or b"") else LOST

        return await self._end(entries, scope, end)

    async def _store_as_sent(self, job: Job, result: bytes) -> bool:
        """Store a result that perhaps only a process with a codec can read. Maintenance signals it."""
        async with self._pool.connection() as connection:
            return await self._open.resolve(connection, *job.held, OutcomeStatus.COMPLETED, result)

    async def fail(self, entries: Sequence[Named[JobFailure]], scope: Scope) -> list[Answer]:
        """End attempts that failed."""

        async def end(job: Job, said: JobFailure) -> Ended:
            job.asked_for_client = said.by_signal
            if said.canceled and job.row.task_token is not None:
                await self._beat(job)  # only Temporal knows whether it was asked to stop
            return await self._attempts.failed(job, said)

        return await self._end(entries, scope, end)

    async def release(self, entries: Sequence[Named[Release]], scope: Scope) -> list[Answer]:
        """Give jobs back. The attempts do not count."""

        async def end(job: Job, said: Release) -> Ended:
            return Ended(job, snooze=timedelta(seconds=said.delay_seconds))

        return await self._end(entries, scope, end)

    async def _end(
        self,
        entries: Sequence[Named[T]],
        scope: Scope,
        end: Callable[[Job, T], Awaitable[Ended | Answer]],
    ) -> list[Answer]:
        rows = await self._find(entries)
        answers: list[Answer] = []
        over: list[Ended] = []
        for token, said in entries:
            job = self._running(token, rows, scope)
            if isinstance(job, Answer):
                answers.append(job)
                continue
            try:
                ended = await end(job, said)
            except EntryError as error:
                answers.append(rejected(error.code, error.detail))
                continue
            if isinstance(ended, Answer):
                answers.append(ended)
            else:
                answers.append(ACCEPTED)
                over.append(ended)
        await self._finishing.finish(over)
        return answers

    async def _time_out(self, tokens: Sequence[JobToken]) -> None:
        """End attempts that still run."""
        held = self._leases.held
        rest = [token for token in tokens if token.job_id in held]
        if not rest:
            return
        try:
            rows = await self._find([(token, None) for token in rest])
        except Exception as error:
            await self._database.failed(error)
            for token in rest:
                self._timers.set(token)
            return
        for token in rest:
            row = rows.get(token.job_id)
            if row is None or row.fencing_token != token.fencing_token:
                continue
            with suppress(EntryError):
                job = self._attempts.running(row, token)
                self._finishing.start(self._attempts.overdue(job, await self._attempts.earlier_details(job)))

    async def run(self) -> None:
        """Do what no request asks for, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leases.run(), name="leases")
            group.create_task(self._dispatcher.run(), name="dispatcher")
            group.create_task(self._timers.run(), name="timers")
            group.create_task(self._keep_slow(), name="keep-slow")

    async def _keep_slow(self) -> None:
        """Hold jobs whose outcomes can't be written or signalled for long: their workers say nothing any more."""
        while True:
            await asyncio.sleep(_SLOW_SECONDS)
            slow = [ended.job.held for ended in self._finishing.slow(_SLOW_SECONDS)]
            if not slow:
                continue
            try:
                await self._move([(held, LEASE_SECONDS, None) for held in slow])
            except Exception as error:
                await self._database.failed(error)
            else:
                self._database.works()


def _is_awaited(job: Job) -> bool:
    """Return whether a workflow or a client gets the outcome from the row or by signal."""
    return job.row.task_token is None and (job.row.workflow_id is not None or job.row.has_waiter)
