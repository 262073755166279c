"""The workflow: active, perhaps updated, then cancelled or expired."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from delegator import delegate

with workflow.unsafe.imports_passed_through():
    from examples.subscription.tasks import is_valid_card


@dataclass(frozen=True)
class Status:
    """The answer of the query, and the result."""

    state: Literal["active", "updated", "cancelled", "expired"] = "active"
    card: str | None = None
    updated_at: datetime | None = None
    ignored: list[str] = field(default_factory=list)
    """Cards that came too late or can't be charged."""


@workflow.defn
class Subscription:
    """Runs until it is cancelled, or until its time is over."""

    def __init__(self) -> None:
        # Handlers may run before `run`, because a signal can come with the start. So all fields exist from here on.
        self._status = Status(updated_at=workflow.now())
        self._cancelled = False
        self._sent = self._applied = 0

    @workflow.run
    async def run(self, duration_seconds: int = 30 * 86_400) -> Status:
        """Wait for the end, and return how it came."""
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._cancelled, timeout=duration_seconds)
        # If both came in one workflow task, the cancellation counts: what the customer asked for goes first.
        state: Literal["cancelled", "expired"] = "cancelled" if self._cancelled else "expired"
        self._status = replace(self._status, state=state, updated_at=workflow.now())
        # A handler that still runs would be lost with the run, and so would the caller of its update.
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._status

    @workflow.signal
    async def billing_changed(self, card: str) -> None:
        """Charge another card from now on, if it is valid."""
        await self._change_card(card)

    @workflow.update
    async def change_billing(self, card: str) -> Status:
        """Do the same, and tell the caller what came of it."""
        if not await self._change_card(card):
            raise ApplicationError("this card can't be charged, or the subscription has ended", type="CardRefused")
        return self._status

    @change_billing.validator
    def _is_open(self, card: str) -> None:
        # A validator refuses an update before it is in the history. It can't delegate, because it can't wait.
        if self._is_over():
            raise ApplicationError("the subscription has ended", type="Ended")

    @workflow.signal
    def cancel(self) -> None:
        """End the subscription."""
        self._cancelled = True

    @workflow.query
    def status(self) -> Status:
        """Return where it stands, after the end, too."""
        return self._status

    def _is_over(self) -> bool:
        return self._cancelled or self._status.state in ("cancelled", "expired")

    async def _change_card(self, card: str) -> bool:
        # Two checks may end in the other order than they began. The card that was sent last counts.
        self._sent = number = self._sent + 1
        is_valid = not self._is_over() and await delegate(is_valid_card, card)
        if not is_valid or self._is_over():
            self._status = replace(self._status, ignored=[*self._status.ignored, card])
            return False
        if number > self._applied:
            self._applied = number
            self._status = replace(self._status, state="updated", card=card, updated_at=workflow.now())
        return True
