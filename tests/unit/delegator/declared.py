"""Declarations for the tests beside it."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity

from delegator import contract, delegated, implements


@delegated
async def bare(number: int, name: str) -> bytes:
    return name.encode() * number


@delegated(
    name="renamed",
    queue="video",
    start_to_close_timeout=timedelta(seconds=3),
    inline_wait=timedelta(0),
    max_concurrent=2,
    max_per_second=0.5,
)
def with_options(number: int) -> int:
    return number


@delegated
@activity.defn(name="from temporal")
async def over_activity() -> None: ...


@contract(queue="elsewhere")
async def promised(number: int) -> str: ...


@implements(promised)
async def kept(number: int) -> str:
    return str(number)
