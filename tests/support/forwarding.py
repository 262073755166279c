"""One direction of a forwarded connection, for tests that stand between a process and its server."""

from __future__ import annotations

import asyncio
import contextlib


async def forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy bytes until either side closes, then close the target."""
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
