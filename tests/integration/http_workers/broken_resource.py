"""A handler whose resource can't be opened."""

from __future__ import annotations

from collections.abc import AsyncIterator

from delegator import delegated, resource


@resource
async def printer() -> AsyncIterator[str]:
    raise OSError("no paper")
    yield "printer"


@delegated
async def print_out(text: str) -> str:
    return printer.get() + text
