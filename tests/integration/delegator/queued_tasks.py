"""Types behind a queue of their own, for workers that declare it."""

from __future__ import annotations

from delegator import contract


@contract(queue="other")
async def in_other_queue(number: int) -> int: ...
