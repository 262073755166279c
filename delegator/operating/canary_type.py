"""The type of the jobs by which `delegator doctor` tries the whole path. Every HTTP worker has a handler for it."""

from __future__ import annotations

from typing import Final

from delegator.contracts import DelegatedType, Handler

CANARY: Final = "delegator.canary"
"""The name of the type."""


async def sing(text: str) -> str:
    """Return the text. It says that arguments and results travel."""
    return text


CANARY_HANDLER: Final = Handler(DelegatedType(CANARY, arg_types=(str,), return_type=str), sing, is_async=True)
"""The handler of the type."""
