"""The workflow: one for each subscription, until it expires. Payments come by a signal or are found by polling."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from examples.jobs import run_job

with workflow.unsafe.imports_passed_through():
    from examples.renewals.contracts import Payment, State, Status, Subscription
    from examples.renewals.tasks import LONGEST_POLL_SECONDS, payments_of, remind, set_access, wait_for_payment


@workflow.defn
class KeepSubscription:
    """Reminds, renews and revokes."""

    @workflow.init
    def __init__(self, start: Subscription) -> None:
        self._now = start
        self._reminded: set[int] = set()
        self._state: State = "active"

    @workflow.run
    async def run(self, start: Subscription) -> Status:
        """Wait for a payment or the end. A payment begins a new run: once a year, if it is for a year."""
        ends, terms = start.ends, start.terms
        day = timedelta(seconds=terms.day_seconds)
        await self._set_access(True)
        watch = asyncio.create_task(self._watch())
        while self._now.ends == ends and self._state != "expired":
            now = workflow.now()
            self._state = "active" if now < ends else "grace"
            moments = {days: ends - days * day for days in terms.reminders if days not in self._reminded}
            missed = [days for days, moment in moments.items() if moment <= now]
            last = ends + terms.grace_days * day
            if now >= last:
                await self._set_access(False)
                if self._now.ends == ends:  # a payment that came meanwhile gives the access back
                    self._state = "expired"
            elif missed:
                # After an outage there may be several. Only the last one still says the truth.
                self._reminded.update(missed)
                await self._remind(ends, min(missed))
            else:
                await self._sleep(ends, min([last, *moments.values()]), watch)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        if self._state != "expired":
            workflow.continue_as_new(self._now)
        return self.status()

    @workflow.signal
    def renew(self, payment: Payment) -> None:
        """Move the end by what was paid for, once for each payment. Nothing drifts: the old end counts, not today."""
        if payment.id not in self._now.payments and self._state != "expired":
            ends = self._now.ends + timedelta(seconds=payment.days * self._now.terms.day_seconds)
            self._now = replace(self._now, ends=ends, payments=[*self._now.payments, payment.id])

    @workflow.query
    def status(self) -> Status:
        """Return where it stands, after the end, too."""
        day = timedelta(seconds=self._now.terms.day_seconds)
        return Status(self._state, self._now.ends, max(0, -((workflow.now() - self._now.ends) // day)))

    async def _sleep(self, ends: datetime, until: datetime, watch: asyncio.Task[None]) -> None:
        with suppress(TimeoutError):
            # If a payment and the end come in one task of the workflow, the payment is applied first: it counts.
            is_woken = lambda: self._now.ends != ends or watch.done()  # noqa: E731
            await workflow.wait_condition(is_woken, timeout=until - workflow.now())
        if watch.done():
            await watch  # if it broke, this raises why; if it found a payment, the end has moved

    async def _watch(self) -> None:
        ends, interval = self._now.ends, self._now.terms.interval_seconds
        while self._now.ends == ends:
            if interval < self._now.terms.timers_from_seconds:
                limit, silence = timedelta(seconds=2 * LONGEST_POLL_SECONDS), timedelta(minutes=1)
                limits = {"start_to_close_timeout": limit, "heartbeat_timeout": silence}
                found = await run_job(wait_for_payment, self._now.id, self._now.payments, interval, **limits)
            else:
                # Jitter, the same in a replay: subscriptions that began together don't ask together.
                await workflow.sleep(interval * workflow.random().randint(90, 110) / 100)
                found = await run_job(payments_of, self._now.id)
            for payment in found:
                self.renew(payment)

    async def _remind(self, ends: datetime, days: int) -> None:
        """Send a reminder. A payment stops it, and after a day it is out of date."""
        patience = timedelta(seconds=self._now.terms.day_seconds)
        asked = (self._now.id, ends.isoformat(), days)
        sending = asyncio.create_task(run_job(remind, *asked, schedule_to_close_timeout=patience))
        await workflow.wait_condition(lambda: sending.done() or self._now.ends != ends)
        sending.cancel()
        with suppress(ActivityError):
            await sending

    async def _set_access(self, is_granted: bool) -> None:
        self._now = replace(self._now, version=self._now.version + 1)
        await run_job(set_access, self._now.id, is_granted, self._now.version)
