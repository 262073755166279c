"""What HTTP workers run."""

from datetime import timedelta

from schema import CURRENCY

from delegator import delegated


@delegated(start_to_close_timeout=timedelta(seconds=30))
async def charge(order: int) -> str:
    """Charge an order."""
    return f"order {order} charged in {CURRENCY}"
