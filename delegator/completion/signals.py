"""Coalesced completion: one signal carries the outcomes of many jobs to a workflow run."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import RetryState
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from delegator.completion.failures import MAX_OUTCOME_BYTES, failed_outcome, failure_of, too_large
from delegator.completion.mailbox import Delivery, Entry, Mailbox, Parcel
from delegator.completion.namespaces import SHORT_PATIENCE_SECONDS, Namespaces
from delegator.completion.runs import RunKey, Runs
from delegator.errors import TemporalError, first_line
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionState
from delegator.wire.contexts import Conversions
from delegator.wire.frames import to_payload
from delegator.wire.outcomes import SIGNAL_NAME, Outcome, pack_signal
from delegator.wire.requests import is_unique_id

_log = logging.getLogger(__name__)

_MAILBOX_KEPT_SECONDS = 5.0
_SMALL_BYTES = 16 * 1024
_CALL_LIMIT = timedelta(seconds=10)
_LATE_SECONDS = 2.0
_DISTURBED = frozenset(
    {
        RPCStatusCode.CANCELLED,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.UNKNOWN,
    }
)
"""What a disturbed connection looks like. A server that refuses has been reached."""
_HURRIED_SECONDS = 3.0  # less than a worker gives its outcomes when it stops


class NotDeliveredError(TemporalError):
    """Temporal has refused outcomes for longer than their sender is patient."""


def may_come_again(delivery: Delivery, key: RunKey, job_ids: Iterable[str]) -> set[str]:
    """Return which of these delivered jobs the run may enqueue again without having seen the signal.

    Their handlers must not run again for that, so their outcomes are kept. Another run may use an id that is not the
    run's own, so rows with such ids are deleted.
    """
    if delivery is not Delivery.LATE:
        return set()
    return {job_id for job_id in job_ids if not is_unique_id(job_id, key.run_id)}


class SignalSender:
    """Sends outcomes to workflow runs. A run that gets few of them gets each at once. Else one signal carries many.

    At most one signal to a run is sent at a time. While outcomes keep coming, the pause between signals grows, because
    each signal costs the run an event and perhaps a workflow task. Few signals are sent while a workflow task is open.
    """

    def __init__(
        self,
        client: Client,
        *,
        identity: str,
        state: ConnectionState | None = None,
        patience: timedelta | None = None,
    ) -> None:
        """Prepare the sender.

        Args:
            client: Temporal's client; its codec encodes the signals.
            identity: shown in history.
            state: gets the health of the connection to Temporal.
            patience: how long a run's outcomes are sent again while Temporal refuses them, before `deliver` raises;
                None: as long as it takes.
        """
        self._client = client
        self._conversions = Conversions(client.data_converter)
        self._identity = identity
        self._namespaces = Namespaces(state)
        self._patience_seconds = None if patience is None else patience.total_seconds()
        self._mailboxes: dict[RunKey, Mailbox] = {}
        self._senders: set[asyncio.Task[None]] = set()
        self._runs = Runs(client, self._pause, self._namespaces.timed)
        self._hurried = False
        self._hurried_until = float("inf")

    def use_client(self, client: Client) -> None:
        """Use another client from here on."""
        self._client = client
        self._runs.use_client(client)

    async def deliver(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]]) -> Delivery:
        """Signal outcomes to a run, and return whether they were delivered.

        It waits as long as Temporal does not answer. With many outcomes it also waits for the end of a workflow task.

        Raises:
            NotDeliveredError: Temporal has refused for longer than the sender is patient. Some may be delivered.
            Exception: what the payload codec raises. The signal that it could not encode was not sent.
        """
        if not outcomes:
            return Delivery.DELIVERED
        parcel = Parcel(len(outcomes))
        entries = [Entry(job_id, outcome, parcel) for job_id, outcome in outcomes]
        mailbox = self._mailboxes.get(key)
        if mailbox is None:
            mailbox = self._mailboxes[key] = Mailbox(key.run_id)
            if self._hurried:
                mailbox.hurry()
            sender = asyncio.create_task(self._serve(key, mailbox), name="signals")
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        mailbox.add(entries)
        return await parcel.future

    def hurry(self) -> None:
        """Send everything without pauses from now on, because the process ends soon."""
        self._hurried = True
        self._hurried_until = asyncio.get_running_loop().time() + _HURRIED_SECONDS
        for mailbox in self._mailboxes.values():
            mailbox.hurry()

    async def close(self) -> None:
        """Stop. Outcomes that were not sent yet stay in their rows."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)

    async def _serve(self, key: RunKey, mailbox: Mailbox) -> None:
        batch: list[Entry] = []
        try:
            while mailbox.entries:
                if mailbox.may_overflow:
                    open_run = key._replace(run_id=mailbox.run_id)
                    await self._runs.workflow_task_ended(open_run, lambda: mailbox.hurried)
                    mailbox.was_seen()
                batch = mailbox.take()
                await self._send_batch(key, mailbox, batch)
                pause = mailbox.pause_after(len(batch), asyncio.get_running_loop().time())
                batch = []
                if pause > 0:
                    await mailbox.gather(pause)
                if not mailbox.entries:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_MAILBOX_KEPT_SECONDS):
                            await mailbox.arrived.wait()
        finally:
            self._mailboxes.pop(key, None)
            for entry in (*batch, *mailbox.entries):
                entry.parcel.future.cancel()

    async def _send_batch(self, key: RunKey, mailbox: Mailbox, batch: Sequence[Entry]) -> None:
        try:
            delivery = await self._send(key, mailbox, [(entry.job_id, entry.outcome) for entry in batch])
        except Exception as error:  # a codec may raise any error; the outcomes were not delivered
            # What waits behind a batch that Temporal refuses for long would be refused, too.
            waiting = mailbox.take_all() if isinstance(error, (NotDeliveredError, TimeoutError)) else []
            for entry in (*batch, *waiting):
                entry.parcel.failed(error)
        else:
            for entry in batch:
                entry.parcel.delivered(delivery)

    async def _send(self, key: RunKey, mailbox: Mailbox, outcomes: Sequence[tuple[str, Outcome]]) -> Delivery:
        frame = pack_signal(outcomes)
        payloads = [to_payload(frame)]
        codec = self._conversions.of_workflow(key.namespace, key.workflow_id, key.run_id).codec_for(len(frame))
        if codec is not None:
            payloads = await codec.encode(payloads)
        request = SignalWorkflowExecutionRequest(
            namespace=key.namespace,
            workflow_execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=mailbox.run_id),
            signal_name=SIGNAL_NAME,
            input=Payloads(payloads=payloads),
            identity=self._identity,
            # Temporal drops a signal whose request id it has seen. A retry of this request has the same id.
            request_id=str(uuid.uuid4()),
        )
        backoff = Backoff()
        give_up_at = self._give_up_at(key.namespace)
        disturbed = False
        while True:
            began = time.monotonic()
            try:
                async with self._namespaces.permit(key.namespace):
                    with self._namespaces.timed("SignalWorkflowExecution"):
                        await self._client.workflow_service.signal_workflow_execution(request, timeout=_CALL_LIMIT)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    async with asyncio.timeout_at(give_up_at):
                        successor = await self._runs.successor(key)
                    if successor is None or successor == request.workflow_execution.run_id:
                        return Delivery.ORPHANED
                    request.workflow_execution.run_id = mailbox.run_id = successor
                    continue
                if error.status is RPCStatusCode.INVALID_ARGUMENT:
                    return await self._refused(key, mailbox, outcomes, error)
                disturbed = disturbed or error.status in _DISTURBED
                await self._pause(key, error, backoff)
            except RuntimeError as error:  # a lazy client that could not connect
                disturbed = True
                await self._pause(key, error, backoff)
            else:
                self._namespaces.works(key.namespace)
                is_late = disturbed or time.monotonic() - began > _LATE_SECONDS
                return Delivery.LATE if is_late else Delivery.DELIVERED
            if give_up_at is not None and asyncio.get_running_loop().time() > min(give_up_at, self._hurried_until):
                raise NotDeliveredError(f"Temporal has refused signals of namespace {key.namespace} for too long")

    def _give_up_at(self, namespace: str) -> float | None:
        if self._patience_seconds is None:
            return None
        patience = self._patience_seconds
        if self._namespaces.refuses(namespace):
            patience = min(patience, SHORT_PATIENCE_SECONDS)
        return asyncio.get_running_loop().time() + patience

    async def _refused(
        self, key: RunKey, mailbox: Mailbox, outcomes: Sequence[tuple[str, Outcome]], error: RPCError
    ) -> Delivery:
        """Send refused outcomes one by one. If Temporal refuses a single outcome, send a failure in its place."""
        if len(outcomes) > 1:
            deliveries = [await self._send(key, mailbox, [outcome]) for outcome in outcomes]
            return Delivery.of_all(deliveries)
        ((job_id, outcome),) = outcomes
        _log.error("signal_refused", extra={"job_id": job_id, "bytes": len(outcome.body), "reason": first_line(error)})
        if len(outcome.body) <= _SMALL_BYTES:
            return Delivery.ORPHANED
        converter = self._client.data_converter
        refusal = too_large("the outcome that Temporal refuses", len(outcome.body), MAX_OUTCOME_BYTES)
        replacement = failed_outcome(
            failure_of(refusal, converter),
            job_id=job_id,
            job_type="",
            identity=self._identity,
            retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
        )
        return await self._send(key, mailbox, [(job_id, replacement)])

    async def _pause(self, key: RunKey, error: Exception, backoff: Backoff) -> None:
        self._namespaces.failed(key.namespace, error)
        await backoff.sleep()
