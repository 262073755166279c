"""The workflow; its sandbox must import the application's own `schema`, not another one."""

from schema import CURRENCY
from temporalio import workflow

from delegator import delegate

with workflow.unsafe.imports_passed_through():
    from shop.tasks import charge


@workflow.defn
class Checkout:
    """Charges one order."""

    @workflow.run
    async def run(self, order: int) -> str:
        """Return what was charged, seen from the workflow."""
        charged: str = await delegate(charge, order)
        return f"{charged}; the workflow has {CURRENCY}"
