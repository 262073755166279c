"""The local activities that enqueue and cancel jobs for workflows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial

from delegator_schema.columns import FORMAT_VERSION
from delegator_schema.options import ACTIVITY_ID, TASK_QUEUE
from prometheus_client import CollectorRegistry
from temporalio import activity
from temporalio.common import RawValue
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError

from delegator.completion.failures import MAX_INPUT_BYTES, canceled_outcome, too_large
from delegator.enqueue.cancelling import cancel_jobs
from delegator.enqueue.enqueuer import Enqueuer
from delegator.enqueue.inline import CONNECTION_SECONDS, InlineWaiter, take_over
from delegator.enqueue.looking import look_for
from delegator.enqueue.metrics import EnqueueMetrics
from delegator.enqueue.outages import closing_task
from delegator.enqueue.payloads import decode_found, decode_one, encode_call, facts_for_rows, frame_in, origin_of_call
from delegator.enqueue.policy import NO_WAIT, InlineLimit, InlinePolicy
from delegator.enqueue.reply_limit import SMALLEST_REPLY_BYTES, beyond_limit
from delegator.enqueue.taken_ids import refuse_taken, remove_other_calls, take_back
from delegator.enqueue.terms import Terms, terms_of
from delegator.enqueue.unordered import UnorderedCalls
from delegator.postgres.connections import Pool
from delegator.postgres.lease_keeper import LeaseKeeper, holder_name
from delegator.postgres.queue_table import NewJob, QueueTable, StoredOutcome
from delegator.runtime.exception_groups import unwrapped
from delegator.wire.contexts import Conversions
from delegator.wire.frames import to_raw_value
from delegator.wire.outcomes import Outcome, pack_reply, pack_signal
from delegator.wire.pending import pack_looked
from delegator.wire.requests import (
    CANCEL_ACTIVITY,
    ENQUEUE_ACTIVITY,
    LOOK_ACTIVITY,
    EnqueueRequest,
    JobSpec,
    asked_for,
    generated_job_id,
    is_at_deadline,
    unpack_cancel,
    unpack_enqueue,
)
from delegator.wire.rows import row_problem

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EnqueueParts:
    """What the activities use while a worker runs."""

    pool: Pool
    """Connections to PostgreSQL."""
    enqueuer: Enqueuer
    """Inserts jobs; concurrent requests share a commit."""
    waiter: InlineWaiter
    """Waits inline for outcomes."""
    policy: InlinePolicy
    """Decides how long to wait inline."""
    lease: LeaseKeeper
    """This process's lease. Rows whose outcomes it waits for name it in `waiter_id`."""
    converter: DataConverter
    """The client's data converter."""
    probe: str | None = None
    """See `delegator.wire.probe`."""
    without_context: frozenset[str] = frozenset()
    """Types whose handlers do not run in Temporal's activity context."""
    headers_stay_encoded: bool = False
    """Whether handlers get headers through the codec: the client's `header_codec_behavior` is WORKFLOW_ONLY_CODEC."""
    look_ms: int = 0
    """See `delegator.wire.outcomes.Reply`."""
    search_attributes: bool = False
    """Whether workflows that wait for jobs set their search attributes."""
    metrics: EnqueueMetrics = field(default_factory=lambda: EnqueueMetrics(CollectorRegistry()))
    """This process's series."""
    unordered: UnorderedCalls = field(default_factory=UnorderedCalls)
    """Says which calls have a priority that their queue does not obey."""
    conversions: Conversions = field(init=False)
    """The data converter, for each job."""

    def __post_init__(self) -> None:
        """Bind the data converter."""
        object.__setattr__(self, "conversions", Conversions(self.converter))


@dataclass(slots=True)
class _Batch:
    """The jobs of one queue, in one request."""

    rows: list[NewJob] = field(default_factory=list)
    """In the request's order."""
    positions: dict[str, int] = field(default_factory=dict)
    """Positions in the request, by job id."""
    codecs: dict[str, PayloadCodec | None] = field(default_factory=dict)
    """The codecs by job id, if they are not the same."""
    awaited: set[str] = field(default_factory=set)
    """The ids of the jobs to wait for inline."""
    limit: InlineLimit = NO_WAIT
    """How long to wait for them."""
    refused: set[int] = field(default_factory=set)
    """Positions of jobs that have no row, because a job of another run has their id."""

    def leave_out(self, refused: Mapping[str, Outcome], outcomes: dict[int, Outcome]) -> set[str]:
        """Move the outcomes of refused jobs to those of the request, and return the ids of these jobs."""
        for job_id, outcome in refused.items():
            position = self.positions.pop(job_id)
            self.refused.add(position)
            outcomes[position] = outcome
        if refused:
            self.rows = [row for row in self.rows if row.job_id not in refused]
        return set(refused)


class DelegatorActivities:
    """The local activities of one plugin. They work while a worker with the plugin runs.

    Several workers may use one plugin: they inherit it from their client.
    """

    def __init__(self) -> None:
        """Start without a running worker."""
        self._running: list[EnqueueParts] = []

    def start(self, parts: EnqueueParts) -> None:
        """Use the parts of a worker that has started."""
        self._running.append(parts)

    def stop(self, parts: EnqueueParts) -> None:
        """Stop using these parts."""
        self._running.remove(parts)

    @property
    def parts(self) -> EnqueueParts:
        """The parts of a running worker.

        Raises:
            ApplicationError: no worker with the plugin runs. Temporal retries it.
        """
        if not self._running:
            raise ApplicationError("the delegator plugin is not running in this worker", type="NotRunning")
        return self._running[-1]

    @activity.defn(name=ENQUEUE_ACTIVITY)
    async def enqueue(self, request: RawValue) -> RawValue:
        """Enqueue jobs and wait inline for their outcomes.

        Args:
            request: a frame of `delegator.wire.requests`.

        Returns:
            A frame of `delegator.wire.outcomes` with the outcomes that are known.
        """
        parts = self.parts
        info = activity.info()
        run_id = info.workflow_run_id or ""
        wanted = unpack_enqueue(frame_in(request))
        outcomes: dict[int, Outcome] = {}
        batches = await self._prepare(parts, wanted, info)
        with closing_task():
            await self._enqueue_in_all(parts, batches, outcomes, takes_back=wanted.again)
            refused: set[int] = set().union(*(batch.refused for batch in batches.values()))
            await self._fit(parts, outcomes, max(wanted.reply_bytes, SMALLEST_REPLY_BYTES), batches, refused)
        parts.metrics.outcomes.labels("inline").inc(len(outcomes))
        parts.metrics.outcomes.labels("signal").inc(len(wanted.jobs) - len(outcomes))
        asked = asked_for((job.spec for job in wanted.jobs), wanted.call_runs)
        searchable = parts.search_attributes
        return to_raw_value(pack_reply(run_id, outcomes, asked, look_ms=parts.look_ms, is_searchable=searchable))

    @activity.defn(name=LOOK_ACTIVITY)
    async def look(self, request: RawValue) -> RawValue:
        """Look which jobs are in their queues, finished or not.

        Args:
            request: a frame of `delegator.wire.requests`.

        Returns:
            A frame of `delegator.wire.pending` with the ids of the jobs that are not there.
        """
        parts = self.parts
        at_deadline, retrying = is_at_deadline(frame_in(request)), parts.search_attributes
        looked = await look_for(
            _by_queue(request), parts.pool, parts.enqueuer, at_deadline=at_deadline, tells_retrying=retrying
        )
        return to_raw_value(pack_looked(looked))

    @activity.defn(name=CANCEL_ACTIVITY)
    async def cancel(self, request: RawValue) -> RawValue:
        """Remove waiting jobs and ask running ones to stop.

        Args:
            request: a frame of `delegator.wire.requests`.

        Returns:
            A frame with the outcomes of the removed jobs.
        """
        parts = self.parts
        with closing_task():
            removed = await cancel_jobs(_by_queue(request), parts.pool, parts.enqueuer)
        identity = holder_name()
        return to_raw_value(
            pack_signal(
                [
                    (job_id, canceled_outcome(job_id=job_id, job_type="", identity=identity))
                    for job_id in sorted(removed)
                ]
            )
        )

    async def _prepare(self, parts: EnqueueParts, wanted: EnqueueRequest, info: activity.Info) -> dict[str, _Batch]:
        workflow_id, run_id = info.workflow_id or "", info.workflow_run_id or ""
        terms: dict[int, Terms] = {}
        batches: dict[str, _Batch] = defaultdict(_Batch)
        for position, (job, sequence) in enumerate(zip(wanted.jobs, wanted.sequences, strict=True)):
            spec, data, header, own_id = job
            agreed = terms.get(id(spec))
            if agreed is None:
                if not parts.enqueuer.table(spec.queue).ordered:
                    parts.unordered.note(spec.options or {}, spec.type, spec.queue)
                waiting, lease_id = parts.waiter.waiting, parts.lease.lease_id
                in_context = spec.type not in parts.without_context
                facts = partial(facts_for_rows, parts.conversions, parts.probe, info, in_context=in_context)
                codec = _codec_of(spec, parts, info)
                agreed = terms[id(spec)] = terms_of(
                    spec, parts.policy, waiting, lease_id, wanted.task_began_at, facts, codec
                )
                batches[spec.queue].limit = batches[spec.queue].limit.merged(agreed.limit)
            job_id = own_id or generated_job_id(run_id, sequence)
            if agreed.codec is not None:
                data, header = await encode_call(
                    data, header, agreed.codec, spec.type, header_twice=parts.headers_stay_encoded
                )
            if len(data) > MAX_INPUT_BYTES:
                raise too_large(f"the input of {spec.type}", len(data), MAX_INPUT_BYTES)
            batch = batches[spec.queue]
            batch.positions[job_id] = position
            if parts.conversions.uses_contexts:
                batch.codecs[job_id] = agreed.codec
            if agreed.waiter_id is not None:
                batch.awaited.add(job_id)
            # `_make` takes a third of the time of a named tuple's constructor, which is written in Python.
            batch.rows.append(
                NewJob._make(
                    (
                        job_id,
                        spec.type,
                        data or None,
                        header or None,
                        agreed.options,
                        workflow_id,
                        run_id,
                        None,
                        agreed.deadline_ms,
                        agreed.waiter_id,
                        None,
                        0,
                    )
                )
            )
        return batches

    async def _enqueue_in_all(
        self, parts: EnqueueParts, batches: Mapping[str, _Batch], outcomes: dict[int, Outcome], *, takes_back: bool
    ) -> None:
        """Enqueue in all queues and wait inline. Jobs of one queue do not wait for those of another one."""
        for queue in batches:
            parts.enqueuer.table(queue)  # raises before anything is enqueued
        if len(batches) == 1:
            for queue, batch in batches.items():
                await self._enqueue_in(parts, queue, batch, outcomes, takes_back=takes_back)
            return
        with unwrapped():
            async with asyncio.TaskGroup() as group:
                for queue, batch in batches.items():
                    group.create_task(self._enqueue_in(parts, queue, batch, outcomes, takes_back=takes_back))

    async def _enqueue_in(
        self, parts: EnqueueParts, queue: str, batch: _Batch, outcomes: dict[int, Outcome], *, takes_back: bool
    ) -> None:
        table = parts.enqueuer.table(queue)
        if takes_back:
            await take_back(parts.pool, table, batch.rows)
        waiting = set(batch.awaited)
        adopted: set[str] = set()
        found: list[StoredOutcome] = []
        rest = batch.rows
        while rest:
            fresh = await parts.enqueuer.enqueue(queue, rest)
            known = {row.job_id for row, is_fresh in zip(rest, fresh, strict=True) if not is_fresh}
            gone: set[str] = set()
            if known:
                gone = await remove_other_calls(parts.pool, table, batch.rows, known)
                refused = await refuse_taken(parts.pool, table, batch.rows, known, parts.converter)
                known -= gone | batch.leave_out(refused, outcomes)
                waiting -= refused.keys()
            if known:
                # An earlier attempt of this local activity enqueued them. Put our lease into their `waiter_id`.
                parts.waiter.tasks_are_run_again()
                async with parts.pool.share(queue).connection(CONNECTION_SECONDS) as connection:
                    taken = await take_over(connection, table, known, waiting, parts.lease.lease_id)
                adopted |= taken.adopted
                found += taken.found
                waiting -= known - taken.adopted - taken.gone
                gone |= taken.gone
            rest = [row for row in batch.rows if row.job_id in gone]
        if waiting:
            seconds = parts.policy.seconds_left(batch.limit)
            began = time.monotonic()
            found += await parts.waiter.wait(table, sorted(waiting), seconds, sorted(adopted))
            parts.metrics.inline_wait.observe(time.monotonic() - began)
            self._learn(parts, batch, waiting, found, seconds / batch.limit.seconds)
        if any(row.format_version > FORMAT_VERSION for row in found):
            found = await self._hand_over_too_new(parts, table, found)
        if parts.conversions.uses_contexts:
            for row in found:
                codec = batch.codecs[row.job_id]
                outcomes[batch.positions[row.job_id]] = await decode_one(row.outcome, row.result, codec)
            return
        codec = parts.conversions.shared.codec
        decoded = await decode_found([(row.outcome, row.result) for row in found], codec)
        for row, outcome in zip(found, decoded, strict=True):
            outcomes[batch.positions[row.job_id]] = outcome

    @staticmethod
    async def _hand_over_too_new(
        parts: EnqueueParts, table: QueueTable, found: Sequence[StoredOutcome]
    ) -> list[StoredOutcome]:
        """Leave outcomes that only a newer release can read to its signaller; return the others."""
        readable: list[StoredOutcome] = []
        too_new: list[str] = []
        for row in found:
            problem = row_problem(row.format_version)
            if problem is None:
                readable.append(row)
                continue
            _log.error("outcome_unreadable", extra={"job_id": row.job_id, "reason": problem})
            too_new.append(row.job_id)
        await parts.waiter.hand_over(table, too_new)
        return readable

    @staticmethod
    def _learn(
        parts: EnqueueParts, batch: _Batch, waiting: set[str], found: Sequence[StoredOutcome], share_of_wait: float
    ) -> None:
        """Note which types finish in time."""
        types = {row.job_id: row.job_type for row in batch.rows}
        asked = Counter(map(types.__getitem__, waiting))
        in_time = Counter(types[outcome.job_id] for outcome in found if outcome.job_id in waiting)
        for job_type, count in asked.items():
            parts.policy.learn(job_type, in_time[job_type] / count, share_of_wait)

    async def _fit(
        self,
        parts: EnqueueParts,
        outcomes: dict[int, Outcome],
        limit_bytes: int,
        batches: Mapping[str, _Batch],
        refused: Set[int],
    ) -> None:
        """Keep the reply within its limit. Outcomes beyond it stay in their rows, and the signaller signals them.

        Refused jobs have no rows, so their outcomes always stay in the reply.
        """
        left = beyond_limit(outcomes, refused, limit_bytes)
        for position in left:
            del outcomes[position]
        for queue, batch in batches.items():
            table = parts.enqueuer.table(queue)
            if beyond := [job_id for job_id, position in batch.positions.items() if position in left]:
                await parts.waiter.hand_over(table, beyond)
            brought = [job_id for job_id, position in batch.positions.items() if position in outcomes]
            parts.waiter.delete_later(table, brought)


def _codec_of(spec: JobSpec, parts: EnqueueParts, info: activity.Info) -> PayloadCodec | None:
    if not parts.conversions.uses_contexts:
        return parts.conversions.shared.codec
    options = spec.options or {}
    origin = origin_of_call(spec.type, info, options.get(ACTIVITY_ID), options.get(TASK_QUEUE))
    return parts.conversions.of(origin).codec


def _by_queue(request: RawValue) -> dict[str, list[str]]:
    by_queue: dict[str, list[str]] = defaultdict(list)
    for queue, job_id in unpack_cancel(frame_in(request)):
        by_queue[queue].append(job_id)
    return by_queue
