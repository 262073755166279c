"""The local activities by which workflows enqueue, cancel and look for jobs, over an engine in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from delegator_schema.options import ACTIVITY_ID, INLINE_WAIT_MS, START_DELAY_MS, TASK_QUEUE
from temporalio import activity
from temporalio.common import RawValue

from delegator.completion.failures import MAX_INPUT_BYTES, refused_outcome, too_large
from delegator.enqueue.payloads import encode_call, facts_for_rows, frame_in, origin_of_call
from delegator.enqueue.policy import NO_WAIT, InlineLimit, InlinePolicy
from delegator.enqueue.reply_limit import SMALLEST_REPLY_BYTES, beyond_limit
from delegator.enqueue.taken_ids import taken_error
from delegator.testing.engine import InMemoryEngine
from delegator.testing.records import Delivery
from delegator.testing.rows import InlineWait, Row
from delegator.testing.service import Service
from delegator.testing.table import IDENTITY
from delegator.wire.frames import to_raw_value
from delegator.wire.outcomes import Outcome, pack_reply, pack_signal
from delegator.wire.pending import pack_looked
from delegator.wire.requests import (
    CANCEL_ACTIVITY,
    ENQUEUE_ACTIVITY,
    LOOK_ACTIVITY,
    EnqueueRequest,
    asked_for,
    generated_job_id,
    is_at_deadline,
    unpack_cancel,
    unpack_enqueue,
)


class InMemoryActivities:
    """Production's local activities by name and by protocol, without a database."""

    def __init__(
        self, engine: InMemoryEngine, policy: InlinePolicy, *, look_ms: int = 0, search_attributes: bool = False
    ) -> None:
        """Prepare the activities.

        Args:
            engine: runs the jobs.
            policy: whether to wait for them.
            look_ms: after which time a workflow asks for its jobs; 0: never.
            search_attributes: whether workflows that wait for jobs set their search attributes.
        """
        self._engine = engine
        self._policy = policy
        self._look_ms = look_ms
        self._search_attributes = search_attributes
        self._waiting = 0

    @activity.defn(name=ENQUEUE_ACTIVITY)
    async def enqueue(self, request: RawValue) -> RawValue:
        """Enqueue jobs and wait a little for their outcomes.

        Args:
            request: a frame of `delegator.wire.requests`.

        Returns:
            A frame of `delegator.wire.outcomes` with the outcomes known by now.
        """
        service = self._engine.service
        info = activity.info()
        run_id = info.workflow_run_id or ""
        wanted = unpack_enqueue(frame_in(request))
        outcomes: dict[int, Outcome] = {}
        prepared = await self._prepare(service, wanted, info)
        if wanted.again:
            service.table.take_back(prepared.values())
        rows: dict[int, Row] = {}
        wait = InlineWait()
        limit = NO_WAIT
        refused: set[int] = set()
        for position, new in prepared.items():
            known = service.table.known(new)
            if known is not None and known.run_id != run_id:
                error = taken_error(new.job_id, known.workflow_id)
                refused.add(position)
                outcomes[position] = refused_outcome(
                    error, service.converter, job_id=new.job_id, job_type=new.job_type, identity=IDENTITY
                )
                continue
            rows[position] = row = known or new
            options = wanted.jobs[position].spec.options or {}
            asked_ms = 0 if options.get(START_DELAY_MS) else options.get(INLINE_WAIT_MS)
            allowed = self._policy.limit_for(row.job_type, asked_ms, self._waiting, wanted.task_began_at)
            if allowed.seconds and row.outcome is None and not row.is_left_to_signal:
                limit = limit.merged(allowed)
                row.waiter = wait
                wait.add()
            if known is None:
                service.table.add(row)
                service.take(row)
        waited = [rows[position] for position in rows if rows[position].waiter is wait]
        if waited:
            await self._wait(wait, waited, limit)
        for position, row in rows.items():
            if row.outcome is not None and not row.is_left_to_signal:
                outcomes[position] = row.outcome
        left = beyond_limit(outcomes, refused, max(wanted.reply_bytes, SMALLEST_REPLY_BYTES))
        for position in left:
            del outcomes[position]
            service.hand_over(rows[position])
        for position in outcomes.keys() & rows.keys():
            rows[position].delivery = Delivery.INLINE
        asked = asked_for((job.spec for job in wanted.jobs), wanted.call_runs)
        searchable = self._search_attributes
        return to_raw_value(pack_reply(run_id, outcomes, asked, look_ms=self._look_ms, is_searchable=searchable))

    @activity.defn(name=LOOK_ACTIVITY)
    async def look(self, request: RawValue) -> RawValue:
        """Look which jobs there are, finished or not.

        Args:
            request: a frame of `delegator.wire.requests`.

        Returns:
            A frame of `delegator.wire.pending` with the ids of the jobs that are not there.
        """
        frame = frame_in(request)
        looked = self._engine.service.table.look_for(
            (job_id for _, job_id in unpack_cancel(frame)),
            at_deadline=is_at_deadline(frame),
            tells_retrying=self._search_attributes,
        )
        return to_raw_value(pack_looked(looked))

    @activity.defn(name=CANCEL_ACTIVITY)
    async def cancel(self, request: RawValue) -> RawValue:
        """Remove waiting jobs and ask running ones to stop.

        Args:
            request: a frame of `delegator.wire.requests`.

        Returns:
            A frame of outcomes: those of the removed jobs.
        """
        removed = self._engine.service.cancel(job_id for _, job_id in unpack_cancel(frame_in(request)))
        return to_raw_value(pack_signal(sorted(removed.items())))

    async def _prepare(self, service: Service, wanted: EnqueueRequest, info: activity.Info) -> dict[int, Row]:
        """Return a new row for each job by its place in the request."""
        workflow_id, run_id = info.workflow_id or "", info.workflow_run_id or ""
        prepared: dict[int, Row] = {}
        for position, (job, sequence) in enumerate(zip(wanted.jobs, wanted.sequences, strict=True)):
            spec, plain, header, own_id = job
            job_id = own_id or generated_job_id(run_id, sequence)
            asked = spec.options or {}
            origin = origin_of_call(spec.type, info, asked.get(ACTIVITY_ID), asked.get(TASK_QUEUE))
            codec = service.conversions.of(origin).codec
            data = plain
            if codec is not None:
                data, header = await encode_call(plain, header, codec, spec.type)
            if len(data) > MAX_INPUT_BYTES:
                raise too_large(f"the input of {spec.type}", len(data), MAX_INPUT_BYTES)
            options = {key: value for key, value in (spec.options or {}).items() if key != INLINE_WAIT_MS}
            options = {**facts_for_rows(service.conversions, None, info, has_options=bool(options)), **options}
            prepared[position] = Row(
                job_id=job_id,
                job_type=spec.type,
                queue=spec.queue,
                input=data,
                plain_input=plain,
                header=header,
                options=options or None,
                namespace=service.namespace,
                workflow_id=workflow_id,
                run_id=run_id,
            )
        return prepared

    async def _wait(self, wait: InlineWait, rows: Sequence[Row], limit: InlineLimit) -> None:
        seconds = self._policy.seconds_left(limit)
        self._waiting += 1
        try:
            await wait.wait(seconds)
        finally:
            self._waiting -= 1
            for row in rows:
                if row.waiter is wait:
                    row.waiter = None
        asked = Counter(row.job_type for row in rows)
        in_time = Counter(row.job_type for row in rows if row.outcome is not None and not row.is_left_to_signal)
        for job_type, count in asked.items():
            self._policy.learn(job_type, in_time[job_type] / count, seconds / limit.seconds)
