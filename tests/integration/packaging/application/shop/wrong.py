"""What mypy must refuse: the types of the installed package reach the application."""

from shop.tasks import charge

from delegator import delegate


async def wrong() -> int:
    """Pass the wrong argument, and take the result for another type."""
    return await delegate(charge, "seven")
