"""Coalesced completion: one signal carries the outcomes of many jobs to a workflow run."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import RetryState, WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, SignalWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from delegator.backoff import Backoff
from delegator.completion.failures import failed_outcome, failure_of
from delegator.connection_state import ConnectionState
from delegator.store.database import first_line
from delegator.wire.frames import to_payload
from delegator.wire.outcomes import SIGNAL_NAME, Outcome, pack_signal

_log = logging.getLogger(__name__)

_MOST_OUTCOMES = 2_000
_MOST_BYTES = 1024 * 1024
_BUSY_BATCH = 4
_FIRST_PAUSE = 0.01
_SHORT_PAUSE = 0.25
_LONGEST_PAUSE = 2.0
_PAUSE_SHARE = 0.25
_FREE_SIGNALS = 200
_PAUSE_PER_SIGNAL = 0.001
_LONGEST_SPARING_PAUSE = 2.0
_FORGOTTEN_AFTER = 5.0
_SMALL = 16 * 1024


class RunKey(NamedTuple):
    """The workflow run that enqueued a job."""

    namespace: str
    workflow_id: str
    run_id: str


class Delivery(StrEnum):
    """What became of outcomes."""

    DELIVERED = "delivered"
    """They stand in the history of the run, or of the one that follows it."""
    ORPHANED = "orphaned"
    """Nobody waits any more: the chain of runs is closed."""


class _Parcel:
    """What one caller of `deliver` waits for."""

    __slots__ = ("_left", "_orphaned", "future")

    def __init__(self, count: int) -> None:
        self.future: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._left = count
        self._orphaned = False

    def delivered(self, delivery: Delivery) -> None:
        """Take note of one outcome."""
        self._left -= 1
        self._orphaned = self._orphaned or delivery is Delivery.ORPHANED
        if not self._left and not self.future.done():
            self.future.set_result(Delivery.ORPHANED if self._orphaned else Delivery.DELIVERED)

    def failed(self, error: Exception) -> None:
        """Let the caller see what went wrong; what was delivered before may be delivered again."""
        if not self.future.done():
            self.future.set_exception(error)


class _Entry(NamedTuple):
    job_id: str
    outcome: Outcome
    parcel: _Parcel


class _Mailbox:
    __slots__ = ("arrived", "busy_since", "entries", "pause", "sent")

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.arrived = asyncio.Event()
        self.busy_since: float | None = None
        self.pause = 0.0
        self.sent = 0

    def pause_after(self, batch: int, now: float) -> float:
        """Return the pause before the next signal: none while outcomes come one by one, growing while they pour in.

        It grows to a share of the time for which they have been pouring, so that the signals of a fan-out grow with
        the logarithm of its length, and their delay stays in proportion to it. A run that has got many signals is
        spared more of them: Temporal allows 10,000 a run.

        Args:
            batch: outcomes in the signal just sent.
            now: monotonic, in seconds.
        """
        self.sent += 1
        if batch > _BUSY_BATCH:
            if self.busy_since is None:
                self.busy_since = now
            longest = max(_SHORT_PAUSE, min(_LONGEST_PAUSE, (now - self.busy_since) * _PAUSE_SHARE))
            self.pause = min(longest, self.pause * 2 or _FIRST_PAUSE)
        else:
            self.busy_since, self.pause = None, 0.0
        sparing = min(_LONGEST_SPARING_PAUSE, (self.sent - _FREE_SIGNALS) * _PAUSE_PER_SIGNAL)
        return max(self.pause, sparing)


class SignalSender:
    """Sends outcomes to workflow runs: at once to a quiet run, coalesced to a busy one.

    At most one signal to a run is under way, and the pause between two grows while more keep coming, because each
    costs the run an event and perhaps a workflow task.
    """

    def __init__(self, client: Client, *, identity: str, state: ConnectionState | None = None) -> None:
        """Prepare the sender.

        Args:
            client: Temporal's client; its codec encodes the signals.
            identity: shown in history.
            state: told about Temporal's health.
        """
        self._client = client
        self._identity = identity
        self._state = state
        self._mailboxes: dict[RunKey, _Mailbox] = {}
        self._senders: set[asyncio.Task[None]] = set()
        self._limit = asyncio.Semaphore(64)

    async def deliver(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]]) -> Delivery:
        """Bring outcomes to a run and say what became of them. Waits for as long as Temporal is away.

        Raises:
            Exception: what the payload codec raises; nothing was sent of the outcomes beside which it did.
        """
        if not outcomes:
            return Delivery.DELIVERED
        parcel = _Parcel(len(outcomes))
        entries = [_Entry(job_id, outcome, parcel) for job_id, outcome in outcomes]
        mailbox = self._mailboxes.get(key)
        if mailbox is None:
            mailbox = self._mailboxes[key] = _Mailbox()
            sender = asyncio.create_task(self._serve(key, mailbox), name="signals")
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        mailbox.entries += entries
        mailbox.arrived.set()
        return await parcel.future

    async def close(self) -> None:
        """Give up what is still to be sent."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)

    async def _serve(self, key: RunKey, mailbox: _Mailbox) -> None:
        batch: list[_Entry] = []
        try:
            while mailbox.entries:
                batch, mailbox.entries = _cut(mailbox.entries)
                mailbox.arrived.clear()
                async with self._limit:
                    await self._settle(key, batch)
                pause = mailbox.pause_after(len(batch), asyncio.get_running_loop().time())
                batch = []
                if pause > 0:
                    await asyncio.sleep(pause)
                if not mailbox.entries:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_FORGOTTEN_AFTER):
                            await mailbox.arrived.wait()
        finally:
            self._mailboxes.pop(key, None)
            for entry in (*batch, *mailbox.entries):
                entry.parcel.future.cancel()

    async def _settle(self, key: RunKey, batch: Sequence[_Entry]) -> None:
        try:
            delivery = await self._send(key, [(entry.job_id, entry.outcome) for entry in batch])
        except Exception as error:  # a codec raises what it likes: its callers must not take it for a delivery
            for entry in batch:
                entry.parcel.failed(error)
        else:
            for entry in batch:
                entry.parcel.delivered(delivery)

    async def _send(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]]) -> Delivery:
        payloads = [to_payload(pack_signal(outcomes))]
        codec = self._client.data_converter.payload_codec
        if codec is not None:
            payloads = await codec.encode(payloads)
        request = SignalWorkflowExecutionRequest(
            namespace=key.namespace,
            workflow_execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id),
            signal_name=SIGNAL_NAME,
            input=Payloads(payloads=payloads),
            identity=self._identity,
            # Temporal drops a signal whose id it has seen: nothing less than all that it carries may make two the same.
            request_id=str(uuid.uuid4()),
        )
        backoff = Backoff()
        while True:
            try:
                await self._client.workflow_service.signal_workflow_execution(request)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    successor = await self._successor(key, backoff)
                    if successor is None or successor == request.workflow_execution.run_id:
                        return Delivery.ORPHANED
                    request.workflow_execution.run_id = successor
                    continue
                if error.status is RPCStatusCode.INVALID_ARGUMENT:
                    return await self._refused(key, outcomes, error)
                await self._pause(error, backoff)
            except RuntimeError as error:  # a lazy client that could not connect
                await self._pause(error, backoff)
            else:
                if self._state is not None:
                    self._state.restored()
                return Delivery.DELIVERED

    async def _refused(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]], error: RPCError) -> Delivery:
        """Send one by one what Temporal refuses together, and tell the workflow of an outcome that it refuses."""
        if len(outcomes) > 1:
            deliveries = [await self._send(key, [outcome]) for outcome in outcomes]
            return Delivery.ORPHANED if Delivery.ORPHANED in deliveries else Delivery.DELIVERED
        ((job_id, outcome),) = outcomes
        _log.error("signal_refused", extra={"job_id": job_id, "bytes": len(outcome.body), "reason": first_line(error)})
        if len(outcome.body) <= _SMALL:
            return Delivery.ORPHANED
        converter = self._client.data_converter
        refusal = ApplicationError(
            f"Temporal refuses the outcome of {len(outcome.body)} bytes: {first_line(error)}",
            type="PayloadTooLarge",
            non_retryable=True,
        )
        told = failed_outcome(
            failure_of(refusal, converter),
            job_id=job_id,
            job_type="",
            identity=self._identity,
            retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
        )
        return await self._send(key, [(job_id, told)])

    async def _successor(self, key: RunKey, backoff: Backoff) -> str | None:
        """Return the open run that continues the closed one (reset, continue-as-new, retry); None: there is none."""
        first = await self._describe(key, key.run_id, backoff)
        current = await self._describe(key, "", backoff)
        if first is None or current is None or first[1] != current[1]:
            return None
        return current[0] if current[2] else None

    async def _describe(self, key: RunKey, run_id: str, backoff: Backoff) -> tuple[str, str, bool] | None:
        request = DescribeWorkflowExecutionRequest(
            namespace=key.namespace, execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=run_id)
        )
        while True:
            try:
                reply = await self._client.workflow_service.describe_workflow_execution(request)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                await self._pause(error, backoff)
            except RuntimeError as error:
                await self._pause(error, backoff)
            else:
                info = reply.workflow_execution_info
                running = info.status in (
                    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
                    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
                )
                return info.execution.run_id, info.first_run_id, running

    async def _pause(self, error: Exception, backoff: Backoff) -> None:
        if self._state is not None:
            self._state.lost(first_line(error))
        await backoff.sleep()


def _cut(entries: list[_Entry]) -> tuple[list[_Entry], list[_Entry]]:
    size = 0
    for position, entry in enumerate(entries):
        size += len(entry.outcome.body)
        if position and (position >= _MOST_OUTCOMES or size > _MOST_BYTES):
            return entries[:position], entries[position:]
    return entries, []
