"""The job. HTTP workers run it; as it is also an activity, a Temporal worker could."""

from __future__ import annotations

from delegator import delegated


@delegated
async def greet(name: str) -> str:
    """Return a greeting."""
    return f"Hello, {name}!"
