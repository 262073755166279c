"""Version 3: no payment of version 1 is left, so the old way goes.

`workflow.deprecate_patch` still reads the markers of version 2. When those have ended too, the call goes.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from examples.payments.contracts import Payment, State, Times
    from examples.payments.upgrade.v2 import PATCH, WithDailyLimit


@workflow.defn(name="Payment")
class PaymentWorkflow(WithDailyLimit):
    """A payment, version 3."""

    @workflow.run
    async def run(self, payment: Payment, times: Times) -> State:
        """Return the final state."""
        return await self.pay()

    async def admit(self) -> None:
        """Check the limit of the day, in every payment."""
        workflow.deprecate_patch(PATCH)
        await self._enforce_limit()
