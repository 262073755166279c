"""Version 2: an account has a limit of a day, and a callback is waited for half as long.

`workflow.patched` keeps both changes from payments that began before: they go on without the limit, with the wait that
their history has.
"""

from __future__ import annotations

from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import examples.payments.contracts as contracts
    from examples.payments.contracts import ACCOUNT, Payment, State, Times
    from examples.payments.orchestrator.workflow import PaymentFlow

PATCH = "daily-limit"


class WithDailyLimit(PaymentFlow):
    """The steps of version 2."""

    async def admit(self) -> None:
        """Check the limit of the day."""
        if workflow.patched(PATCH):
            await self._enforce_limit()

    async def _enforce_limit(self) -> None:
        await self._step(contracts.check_daily_limit, ACCOUNT)
        if self._times.callback_timeout == Times().callback_timeout:
            self._times = replace(self._times, callback_timeout=Times().callback_timeout / 2)


@workflow.defn(name="Payment")
class PaymentWorkflow(WithDailyLimit):
    """A payment, version 2."""

    @workflow.run
    async def run(self, payment: Payment, times: Times) -> State:
        """Return the final state."""
        return await self.pay()
