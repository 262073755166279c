"""From the stream to running jobs: receive, claim, acknowledge, start."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import psycopg

from delegator.errors import StreamError, WireError
from delegator.postgres import leases
from delegator.postgres.error_classes import ErrorClass, classify, without_values
from delegator.postgres.queue_pause import PauseStatements
from delegator.postgres.queue_table import Claimed, QueueTable
from delegator.runtime.backoff import Backoff
from delegator.runtime.liveness import Progress
from http_workers.job import Job
from http_workers.options import ClaimMode
from http_workers.pacing import EmptyReplyPacer
from http_workers.pending import receive
from http_workers.receiver_parts import ReceiverParts
from http_workers.source import MAX_BATCH, Message, StreamRefusedError

_log = logging.getLogger(__name__)
_FIRST_LOOK_AGAIN_SECONDS = 0.001
_LAST_LOOK_AGAIN_SECONDS = 0.1
_VISIBLE_WITHIN_SECONDS = 20.0


class Receiver:
    """Pulls messages for free slots, claims their rows and starts the jobs."""

    def __init__(self, parts: ReceiverParts, *, table: QueueTable, claim_mode: ClaimMode) -> None:
        """Prepare the receiver.

        Args:
            parts: what it works with.
            table: the queue's table.
            claim_mode: whether rows are claimed.
        """
        self._parts = parts
        self._table = table
        self._pauses = PauseStatements(table.queue)
        self._is_claimed = claim_mode is ClaimMode.LEASE
        self._claiming: set[str] = set()
        self._claims_ended: asyncio.Event | None = None

    async def claims_ended(self) -> None:
        """Wait until no row is being claimed."""
        ended = self._claims_ended = asyncio.Event()
        if self._claiming:
            await ended.wait()

    async def poll(self, progress: Progress, most: int) -> None:
        """Receive until cancelled. A cancellation loses no message: the stream delivers it again.

        Args:
            progress: marked at every turn.
            most: largest number of slots to reserve for one request.
        """
        backoff, pacer = Backoff(), EmptyReplyPacer()
        async with asyncio.TaskGroup() as takers:
            while True:
                with progress.suspended():
                    reserved = await self._parts.slots.reserve(min(most, MAX_BATCH))
                messages: list[Message] = []
                began = time.monotonic()
                wait = self._parts.source.longest_wait(self._parts.wait)
                try:
                    with self._parts.stream_state.timed("receive"):
                        messages = await receive(self._parts.source, reserved, wait)
                except (StreamError, WireError) as error:
                    self._parts.stream_state.lost(str(error), refused=isinstance(error, StreamRefusedError))
                    self._parts.slots.release(reserved)
                    reserved = 0
                    await backoff.sleep()
                    continue
                finally:
                    progress.mark()
                    self._parts.slots.release(reserved - len(messages))
                backoff.reset()
                self._parts.stream_state.restored()
                self._parts.metrics.last_poll.set_to_current_time()
                elapsed = timedelta(seconds=time.monotonic() - began)
                pause = pacer.pause(len(messages), elapsed, wait)
                if messages:
                    self._parts.metrics.received.inc(len(messages))
                    takers.create_task(self._take(messages), name="take")
                    continue
                if not pause:
                    self._parts.lease.note_delivery_watermark()
                else:
                    await asyncio.sleep(pause)

    async def _take(self, messages: Sequence[Message]) -> None:
        if not self._parts.slots.is_open:  # a suspect runs alone
            await self._give_back(messages)
            return
        wanted: dict[str, int] = {}
        for message in messages:
            record = message.data.record
            job_id, token = record.job_id, record.fencing_token
            if type(job_id) is not str or type(token) is not int:
                _log.error("message_unreadable", extra={"reason": "the record lacks job_id or fencing_token"})
                continue
            # A second claim of the same row at the same time would change the fencing token of the first.
            if job_id not in self._claiming and (self._is_claimed or job_id not in self._parts.held):
                wanted[job_id] = token
        self._claiming.update(wanted)
        try:
            with self._parts.slots.claiming():
                taken = await self._read_rows(list(wanted.items())) if wanted else []
                if taken:
                    self._parts.metrics.claim_size.observe(len(taken))
                for claimed in taken:
                    self._parts.metrics.start_delay.observe(claimed.waited_seconds)
                    self._parts.start(Job(claimed))
        finally:
            self._claiming.difference_update(wanted)
            if self._claims_ended is not None and not self._claiming:
                self._claims_ended.set()
        unused = len(messages) - len(taken)
        if unused:
            self._parts.metrics.dropped.inc(unused)
            self._parts.slots.release(unused)
        # From here on the lease counts, so the stream may drop the messages.
        self._parts.acknowledge([message.ack_id for message in messages])

    async def _give_back(self, messages: Sequence[Message]) -> None:
        """Leave messages to other workers. If the stream does not hear it, it offers them again later."""
        self._parts.slots.release(len(messages))
        try:
            await self._parts.source.nack([message.ack_id for message in messages])
        except (StreamError, WireError) as error:
            _log.debug("messages_not_given_back", extra={"messages": len(messages), "reason": str(error)})

    async def _read_rows(self, wanted: Sequence[tuple[str, int]]) -> list[Claimed]:
        """Claim rows, or only read them if this worker does not claim. A row that can't be read is left out."""
        claimed: list[Claimed] = []
        tokens = dict(wanted)
        rest = wanted
        give_up_at = time.monotonic() + _VISIBLE_WITHIN_SECONDS
        pause = _FIRST_LOOK_AGAIN_SECONDS
        while rest:
            expired = False
            try:
                async with self._parts.pool.connection() as connection:
                    has_pauses = self._parts.lease.has_pauses
                    if has_pauses:
                        await self._pauses.pause_named(connection, [job_id for job_id, _ in rest])
                    if self._is_claimed:
                        lease_id = self._parts.lease.lease_id
                        taken, again = await self._table.claim(
                            connection, rest, lease_id, self._running(tokens), has_pauses=has_pauses
                        )
                        if again and not taken:
                            expired = not await leases.is_live(connection, lease_id)
                    else:
                        taken, again = await self._table.look(connection, rest, has_pauses=has_pauses)
                if expired:
                    await self._parts.lease.renew()
                    continue
            except Exception as error:
                # Perhaps it was committed: the same lease may claim its own rows again.
                if isinstance(error, psycopg.Error) and classify(error) is ErrorClass.DATA:
                    return claimed + await self._read_one_by_one(rest, error)
                await self._parts.database.failed(error)
                continue
            self._parts.database.works()
            claimed += taken
            rest = [(job_id, tokens[job_id]) for job_id in again]
            if rest:
                if time.monotonic() > give_up_at:
                    _log.warning("rows_invisible", extra={"rows": len(rest)})  # the sweeper finds them
                    break
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LAST_LOOK_AGAIN_SECONDS)
        return claimed

    async def _read_one_by_one(self, wanted: Sequence[tuple[str, int]], error: psycopg.Error) -> list[Claimed]:
        """Claim the rows of a batch that holds a bad row. Only the bad row is left out."""
        if len(wanted) > 1:
            return [claimed for row in wanted for claimed in await self._read_rows([row])]
        ((job_id, fencing_token),) = wanted
        await self._parts.give_up(job_id, fencing_token, without_values(error))
        return []

    def _running(self, wanted: Mapping[str, int]) -> list[int]:
        """Return the fencing tokens of rows that this worker runs. It must not claim them again."""
        return [self._parts.held[job_id].fencing_token for job_id in self._parts.held.keys() & wanted.keys()]
