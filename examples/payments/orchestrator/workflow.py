"""The payment: a saga over four services, written with ordinary activities.

`--dispatch` alone decides whether these become delegated jobs: nothing in this file knows of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError

with workflow.unsafe.imports_passed_through():
    import examples.payments.contracts as contracts
    from examples.payments.contracts import ACCOUNT, ATTEMPT, GATEWAY, NOTIFICATION, Notice, Payment, State, Times
    from examples.payments.orchestrator.conversation import Conversation
    from examples.payments.orchestrator.fraud_check import FraudCheck

RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=30)
)
Job = Callable[[Any], Any]


class PaymentFailed(Exception):
    """The payment can't succeed. The text is the reason that the user sees."""


class PaymentFlow(Conversation):
    """What all versions of the workflow share. It is a class of its own because each version defines its `run`."""

    @workflow.init
    def __init__(self, payment: Payment, times: Times) -> None:
        super().__init__(payment, times)
        self._contact: contracts.Validation | None = None
        self._is_over = False
        self._compensations: list[tuple[Job, str]] = []

    async def pay(self) -> State:
        """Run the payment to its end. Temporal's cancellation counts as the signal `cancel`, however often it comes."""
        work = asyncio.create_task(self._work())
        while True:
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if work.done():
                    raise  # the run leaves the worker's cache
                self._stop("cancelled")

    async def admit(self) -> None:
        """Check what a later version of the workflow checks between validation and debit."""

    async def _work(self) -> State:
        forward = asyncio.create_task(self._forward())
        # The validation is awaited even then: without it nobody knows how to tell the user.
        await workflow.wait_condition(
            lambda: forward.done() or (self._stop_reason is not None and self._contact is not None)
        )
        forward.cancel()  # a step in flight is cancelled and awaited: its cancellation type says so
        reason: str | None = None
        try:
            await forward
        except PaymentFailed as failed:
            reason = str(failed)
        except ActivityError as error:
            reason = _words(error)
        except asyncio.CancelledError:
            if self._stop_reason is None:
                raise  # the run leaves the worker's cache
        reason = self._stop_reason or reason
        if reason is None:
            self._enter("success", "notifying", "the payment succeeded")
        else:
            self._state.reason = reason
            await self._compensate()
            self._enter("fail", "notifying", f"the payment failed: {reason}")
        await self._notify()
        self._enter(self._state.status, "done", "the workflow ends")
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._state

    async def _forward(self) -> None:
        """Take the money and have it captured. The fraud check runs beside it, and success needs both."""
        contact = self._contact = await self._begin(contracts.validate, ACCOUNT, self._payment)
        self._go_on()
        if contact.reason is not None:
            raise PaymentFailed(contact.reason)
        self._enter("processing", "debiting", "the account is valid")
        fraud = asyncio.create_task(self._check_fraud())
        try:
            await self.admit()
            await self._take_money()
            if not fraud.done():
                self._note("waiting for the fraud check", "the provider captured the money")
            await fraud
        finally:
            self._is_over = True
            fraud.cancel()
            await asyncio.gather(fraud, return_exceptions=True)

    async def _take_money(self) -> None:
        # A compensation is registered before its step, because a step that failed or timed out may have happened.
        self._compensations.append((contracts.credit, ACCOUNT))
        await self._step(contracts.debit, ACCOUNT)
        self._note("charging", "the amount is taken from the account")
        self._compensations.append((contracts.void, GATEWAY))
        await self._step(contracts.charge, GATEWAY, timedelta(seconds=self._times.charge_deadline))
        self._note("waiting for the callback", "the provider accepted the charge")
        timeout = timedelta(seconds=self._times.callback_timeout)
        try:
            await workflow.wait_condition(lambda: self._state.callback is not None, timeout=timeout)
        except TimeoutError:
            raise PaymentFailed("the provider did not call back in time") from None
        self._go_on()

    async def _check_fraud(self) -> None:
        self._state.fraud = "running"
        try:
            child = await workflow.start_child_workflow(
                FraudCheck.run,
                args=[self._payment, self._times],
                id=f"fraud-{self._payment.payment_id}",
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )
            if self._is_over or self._stop_reason is not None:
                child.cancel()  # a cancellation that comes while a child starts is swallowed
            score = await child
        except ChildWorkflowError:
            self._state.fraud = "cancelled"
            if not self._is_over:
                self._stop("the fraud check ended early")
            raise PaymentFailed("the fraud check ended early") from None
        self._state.fraud = score.verdict
        self._note(None, f"fraud check: {score.verdict} ({score.why})")
        if score.verdict == "fail":
            self._stop(f"fraud: {score.why}")
            raise PaymentFailed(f"fraud: {score.why}")

    async def _step(self, job: Job, service: str, deadline: timedelta | None = None) -> Any:
        result = await self._begin(job, service, self._payment, deadline)
        self._go_on()
        return result

    def _begin(
        self, job: Job, service: str, argument: object, deadline: timedelta | None = None
    ) -> workflow.ActivityHandle[Any]:
        return workflow.start_activity(
            job,
            argument,
            task_queue=service,
            start_to_close_timeout=ATTEMPT,
            schedule_to_close_timeout=deadline,
            retry_policy=RETRY,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )

    def _go_on(self) -> None:
        """Raise if the payment is to stop: what completes although it is cancelled swallows the cancellation."""
        if self._stop_reason is not None:
            raise PaymentFailed(self._stop_reason)

    async def _compensate(self) -> None:
        """Undo in the reverse order. One that does not succeed waits for a person, and the next ones wait for it."""
        if self._compensations:
            self._enter(self._state.status, "compensating", f"compensating: {self._state.reason}")
        for job, service in reversed(self._compensations):
            done = await self._must(job, service, self._payment)
            self._state.compensated.append(job.__name__ if done else f"{job.__name__} (by a person)")
            self._note(None, f"{job.__name__} is done" if done else f"a person resolved {job.__name__}")

    async def _notify(self) -> None:
        """Tell the user by each channel. Whatever happens here, the outcome stays."""
        state, contact, payment = self._state, self._contact or contracts.Validation(), self._payment
        ending = "succeeded." if state.status == "success" else f"failed: {state.reason}."
        subject = f"Payment {payment.payment_id}: {state.status}"
        text = f"Your payment of {payment.amount} {payment.currency} (minor units) {ending}"
        channels = (("email", contact.email, contracts.send_email), ("sms", contact.phone, contracts.send_sms))
        state.notified = False
        notices = [
            (job, Notice(f"{payment.payment_id}:{state.status}:{channel}", recipient, subject, text))
            for channel, recipient, job in channels
            if recipient is not None
        ]
        done = await asyncio.gather(*(self._must(job, NOTIFICATION, notice) for job, notice in notices))
        state.notified = bool(done) and all(done)

    async def _must(self, job: Job, service: str, argument: object) -> bool:
        """Run a job until it succeeds (True), or until a person has resolved it in another way (False)."""
        name = job.__name__
        while True:
            try:
                await self._unless_a_person_decides(job, service, argument)
            except ActivityError as error:
                if name not in self._interventions:
                    self._ask_person(name, _words(error))
                await workflow.wait_condition(lambda: name in self._interventions)
                if self._person_decided(name) == "resolve":
                    return False
            else:
                self._person_decided(name)
                return True

    async def _unless_a_person_decides(self, job: Job, service: str, argument: object) -> None:
        handle = self._begin(job, service, argument)
        await workflow.wait_condition(lambda: handle.done() or job.__name__ in self._interventions)
        handle.cancel()  # a person's decision does not wait for the backoff
        await handle


@workflow.defn(name="Payment")
class PaymentWorkflow(PaymentFlow):
    """A payment, version 1."""

    @workflow.run
    async def run(self, payment: Payment, times: Times) -> State:
        """Return the final state."""
        return await self.pay()


def _words(error: ActivityError) -> str:
    """Return the reason that a failed step gave."""
    cause = error.cause
    return cause.message if isinstance(cause, ApplicationError) else str(cause or error)
