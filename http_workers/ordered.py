"""From an ordered queue to running jobs: the stream says that jobs wait, the queue's lines say which come next."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import psycopg

from delegator.errors import StreamError, WireError
from delegator.postgres import leases, pauses
from delegator.postgres.connections import Connection
from delegator.postgres.error_classes import ErrorClass, classify, without_values
from delegator.postgres.queue_order import Lane, OrderStatements, Place
from delegator.postgres.queue_pause import PauseStatements
from delegator.runtime.backoff import Backoff
from delegator.runtime.liveness import Progress
from http_workers.fair_order import FairOrder, Room
from http_workers.fleet import FleetGate
from http_workers.job import Job
from http_workers.pacing import EmptyReplyPacer
from http_workers.pending import receive
from http_workers.receiver_parts import ReceiverParts
from http_workers.source import MAX_BATCH, Message, StreamRefusedError

_LOOK_SECONDS: Final = 0.5
"""How often a worker looks for jobs that no message has announced to it."""
_FIRST_LOOK_AGAIN_SECONDS: Final = 0.001
_VISIBLE_WITHIN_SECONDS: Final = 1.0
_MOST_LANES: Final = 500
_MOST_TOKENS: Final = 100
_DEFAULT_PRIORITY: Final = 3
_MOST_TURNS: Final = 8
"""Statements of one claim on a page of lines. Lines that it did not reach are taken in the next claim."""
_FAIR_TURNS: Final = 2
_MOST_PAGES: Final = 4
"""Pages of lines that one claim reads while there are free slots. The next claim goes on behind them."""
_NOTHING_GOT_SECONDS: Final = 0.01
"""How soon a worker looks again whose claim got nothing, though it has not seen the end of all lines."""


class OrderedReceiver:
    """Takes the jobs of an ordered queue for free slots.

    A message of the stream only wakes it: the claim takes the job whose turn it is, not the one that the message names.
    So all messages may be acknowledged at once, and a message that is lost or comes twice does no harm.
    """

    def __init__(self, parts: ReceiverParts, *, order: OrderStatements, gate: FleetGate) -> None:
        """Prepare the receiver.

        Args:
            parts: what it works with.
            order: the queue's statements.
            gate: keeps the fleet-wide limits.
        """
        self._parts = parts
        self._order = order
        self._gate = gate
        self._pauses = PauseStatements(order.queue)
        self._fair = FairOrder()
        self._after = (0, "")
        self._behind = (0, "")
        self._unused = 0
        self._announced: dict[int, float] = {}
        self._woken = asyncio.Event()
        self._may_have_lost_claim = False

    def ended(self, job: Job) -> None:
        """Look again, because the end of a job may have made room in a fleet-wide limit."""
        if job.job_type in self._gate.types:
            self._woken.set()

    async def listen(self, progress: Progress) -> None:
        """Take messages until cancelled, as long as there is a free slot.

        Args:
            progress: marked at every turn.
        """
        backoff, pacer = Backoff(), EmptyReplyPacer()
        while True:
            with progress.suspended():
                await self._parts.slots.free()
            began = time.monotonic()
            wait = self._parts.source.longest_wait(self._parts.wait)
            try:
                with self._parts.stream_state.timed("receive"):
                    messages = await receive(self._parts.source, MAX_BATCH, wait)
                if messages and len(self._parts.held) >= self._parts.slots.total:
                    # It has become full while it waited. Another worker may have a free slot.
                    await self._parts.source.nack([message.ack_id for message in messages])
                    messages = []
            except (StreamError, WireError) as error:
                self._parts.stream_state.lost(str(error), refused=isinstance(error, StreamRefusedError))
                await backoff.sleep()
                continue
            finally:
                progress.mark()
            backoff.reset()
            self._parts.stream_state.restored()
            self._parts.metrics.last_poll.set_to_current_time()
            if messages:
                self._announce(messages)
            elapsed = timedelta(seconds=time.monotonic() - began)
            await asyncio.sleep(pacer.pause(len(messages), elapsed, wait))

    def _announce(self, messages: Sequence[Message]) -> None:
        self._parts.metrics.received.inc(len(messages))
        self._parts.acknowledge([message.ack_id for message in messages])
        tokens = {token for message in messages if type(token := message.data.record.fencing_token) is int}
        until = time.monotonic() + _VISIBLE_WITHIN_SECONDS
        self._announced.update(dict.fromkeys(sorted(tokens)[-_MOST_TOKENS:], until))
        self._woken.set()

    async def claim(self, progress: Progress) -> None:
        """Claim jobs for free slots until cancelled.

        Args:
            progress: marked at every turn.
        """
        pause = 0.0
        while True:
            with progress.suspended():
                if pause:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._woken.wait()
                reserved = await self._parts.slots.reserve(_MOST_LANES)
            self._woken.clear()
            self._unused = reserved
            try:
                with self._parts.slots.claiming():
                    pause = await self._take()
            except Exception as error:
                self._may_have_lost_claim = True  # it may have been committed
                self._release()
                await self._parts.database.failed(error)
                continue
            finally:
                progress.mark()
                self._release()
            self._parts.database.works()

    def _release(self) -> None:
        """Free the reserved slots that got no job."""
        unused, self._unused = self._unused, 0
        self._parts.slots.release(unused)

    def _start(self, jobs: Sequence[Job]) -> None:
        """Start claimed jobs at once: no error of a later statement may lose them."""
        if jobs:
            self._parts.metrics.claim_size.observe(len(jobs))
        self._unused -= len(jobs)
        for job in jobs:
            self._parts.metrics.start_delay.observe(job.row.waited_seconds)
            self._parts.start(job)

    async def _take(self) -> float:
        """Claim and start jobs for the reserved slots. Return for how long to wait for a wake-up, in seconds."""
        most, now = self._unused, time.monotonic()
        self._announced = {token: until for token, until in self._announced.items() if until > now}
        lease_id = self._parts.lease.lease_id
        async with self._parts.pool.connection() as connection:
            if self._may_have_lost_claim:
                self._may_have_lost_claim = False
                jobs = list(map(Job, await self._order.reclaim(connection, lease_id, list(self._parts.held), most)))
                self._may_have_lost_claim = len(jobs) == most
                self._start(jobs)
                return 0.0
            announced = list(self._announced)
            lanes, behind, visible = await self._lanes(connection, min(2 * most, _MOST_LANES), announced)
            pause = await self._claim_pages(connection, lanes, behind, lease_id)
            if visible:  # others may have been announced meanwhile
                for token in announced:
                    self._announced.pop(token, None)
            else:
                pause = min(pause, _FIRST_LOOK_AGAIN_SECONDS)
            if lanes and self._unused == most and not await leases.is_live(connection, lease_id):
                await self._parts.lease.renew()
                return 0.0
        return pause

    async def _lanes(
        self, connection: Connection, limit: int, announced: Sequence[int]
    ) -> tuple[list[Lane], tuple[int, str] | None, bool]:
        """Return a page of lines, behind which line the next page begins (None: there is none), and what is visible.

        If one priority has more than `limit` lines, each look goes on behind the last line that was chosen before.
        """
        lanes, visible = await self._order.lanes(connection, limit, announced)
        after, self._after = self._after, (0, "")
        if len(lanes) < limit:
            return lanes, None, visible
        if lanes[0].priority == lanes[-1].priority:
            self._after = (lanes[0].priority, "")
            if after[0] == lanes[0].priority:
                found, _ = await self._order.lanes(connection, limit, after=after)
                if of_priority := [lane for lane in found if lane.priority == after[0]]:
                    return of_priority, (0, ""), visible
        return lanes, _place_of(lanes[-1]), visible

    async def _claim_pages(
        self, connection: Connection, lanes: Sequence[Lane], behind: tuple[int, str] | None, lease_id: int
    ) -> float:
        """Claim jobs of a page of lines, and of further pages while there are free slots.

        The lines of a page may all have reached a limit of the fleet. They must not hide other lines.

        Args:
            connection: where to.
            lanes: the first page.
            behind: behind which line the next page begins; None: there is none.
            lease_id: this worker's lease.

        Returns:
            In how many seconds to look again unless something happens.
        """
        most, pause, more_may_wait = self._unused, _LOOK_SECONDS, False
        for page in range(1, _MOST_PAGES + 1):
            if self._parts.lease.has_pauses:
                lanes = await self._without_paused(connection, lanes)
            try:
                again_in, is_more = await self._claim(connection, lanes, lease_id)
            except psycopg.Error as error:
                if classify(error) is not ErrorClass.DATA:
                    raise
                await self._claim_one_by_one(connection, lanes[: self._unused], lease_id)
                return 0.0
            pause, more_may_wait = min(pause, again_in), more_may_wait or is_more
            if behind is None:
                self._behind = (0, "")
                break
            if self._unused == 0 or page == _MOST_PAGES:
                more_may_wait = True
                break
            if page == 1:
                behind = max(behind, self._behind)
            lanes, _ = await self._order.lanes(connection, _MOST_LANES, after=behind)
            behind = _place_of(lanes[-1]) if len(lanes) == _MOST_LANES else None
            self._behind = behind or (0, "")
        if not more_may_wait:
            return pause
        return 0.0 if self._unused < most else min(pause, _NOTHING_GOT_SECONDS)

    async def _without_paused(self, connection: Connection, lanes: Sequence[Lane]) -> list[Lane]:
        """Return the lines whose jobs are not paused. The jobs of the others leave their lines."""
        found = await pauses.pauses(connection, [self._order.queue])
        paused = [lane for lane in lanes if any(one.covers(self._order.queue, lane.job_type) for one in found)]
        if paused:
            await self._pauses.pause_lanes(connection, [lane.name for lane in paused])
        return [lane for lane in lanes if lane not in paused]

    async def _claim(self, connection: Connection, lanes: Sequence[Lane], lease_id: int) -> tuple[float, bool]:
        """Claim and start jobs of some lines.

        Returns:
            In how many seconds to look again unless something happens, and whether more jobs may wait now.
        """
        most = self._unused
        if self._gate.types.isdisjoint(lane.job_type for lane in lanes):
            room, again_in = Room(), _LOOK_SECONDS
            ended = await self._claim_in_turn(connection, lanes, most, lease_id, room, self._start)
        else:
            jobs: list[Job] = []
            async with connection.transaction():
                room, again_in, ended = await self._claim_limited(connection, lanes, most, lease_id, jobs)
            self._start(jobs)
        return again_in, any(lane not in ended and room.allows(lane) for lane in lanes)

    async def _claim_limited(
        self, connection: Connection, lanes: Sequence[Lane], most: int, lease_id: int, jobs: list[Job]
    ) -> tuple[Room, float, set[Lane]]:
        """Claim jobs within the limits of the fleet, in a transaction.

        Args:
            connection: in a transaction.
            lanes: the lines.
            most: number of jobs to claim.
            lease_id: this worker's lease.
            jobs: gets the jobs. They may start when the transaction is committed.

        Returns:
            What the limits still allow, in how many seconds they may allow more, and the lines that have ended.
        """
        room, again_in = await self._gate.room(connection, lanes, _LOOK_SECONDS)
        ended = await self._claim_in_turn(connection, lanes, most, lease_id, room, jobs.extend, self._gate.types)
        await self._gate.started(connection, [(job.job_type, _share_of(job)[1]) for job in jobs])
        return room, again_in, ended

    async def _claim_in_turn(
        self,
        connection: Connection,
        lanes: Sequence[Lane],
        most: int,
        lease_id: int,
        room: Room,
        got: Callable[[Sequence[Job]], object],
        limited: Collection[str] = (),
    ) -> set[Lane]:
        """Claim jobs of some lines. Return the lines that have ended.

        Which lines end is seen only by claiming. The slots that are free then go to the other lines, and at last to the
        next priority. Otherwise a steady flow of a few jobs would hold up all lower priorities, though slots are free.

        Args:
            connection: where to.
            lanes: the lines.
            most: number of jobs to claim.
            lease_id: this worker's lease.
            room: what the limits allow. It is changed.
            got: takes the jobs of each statement.
            limited: types whose running jobs are counted.
        """
        ended: set[Lane] = set()
        chosen: set[Lane] = set()
        for turn in range(_MOST_TURNS):
            open_lanes = [lane for lane in lanes if lane not in ended and room.allows(lane)]
            asked = self._fair.choose(open_lanes, most, room, evenly=turn >= _FAIR_TURNS)
            if not asked:
                break
            places = [Place(lane.priority, lane.name, count) for lane, count in asked.items()]
            jobs = list(map(Job, await self._order.take(connection, places, lease_id, limited)))
            got(jobs)
            most -= len(jobs)
            self._fair.took(open_lanes, Counter(map(_share_of, jobs)))
            chosen.update(asked)
            counts = Counter((*_share_of(job), job.job_type) for job in jobs)
            for lane, count in asked.items():
                missing = count - counts[lane.priority, lane.fairness_key, lane.job_type]
                if missing > 0:
                    ended.add(lane)
                    room.give_back(lane, missing)
        if self._after != (0, ""):
            behind = [_place_of(lane) for lane in lanes if lane in chosen]
            self._after = behind[-1] if behind else (0, "")
        return ended

    async def _claim_one_by_one(self, connection: Connection, lanes: Sequence[Lane], lease_id: int) -> None:
        """Claim the first job of each line. A job whose row can't be read is given up, so that it holds up no other."""
        for lane in lanes:
            first: tuple[str, int] | None = None
            jobs: list[Job] = []
            try:
                async with connection.transaction():
                    first = await self._order.first(connection, lane)
                    await self._claim_limited(connection, [lane], 1, lease_id, jobs)
            except psycopg.Error as error:
                if first is None or classify(error) is not ErrorClass.DATA:
                    raise
                await self._parts.give_up(*first, without_values(error))
            else:
                self._start(jobs)


def _place_of(lane: Lane) -> tuple[int, str]:
    """Return the priority and the name of a line."""
    return lane.priority, lane.name


def _share_of(job: Job) -> tuple[int, str]:
    """Return the priority and the fairness key by which a job was taken."""
    priority = job.options.priority
    if priority is None:
        return _DEFAULT_PRIORITY, ""
    return priority.priority_key or _DEFAULT_PRIORITY, priority.fairness_key or ""
