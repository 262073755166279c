"""Takes a file in pieces, and finds out whether it is there already."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiohttp import web

from examples.database import connection, fetch_value

_LARGEST: Final = 100 * 1024 * 1024
_INSERT: Final = """
INSERT INTO onboarding.imports (id, maker, sha256, idempotency_key, charset, delimiter)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


async def store(
    pieces: AsyncIterator[bytes],
    folder: Path,
    maker: str,
    key: str | None = None,
    charset: str | None = None,
    delimiter: str | None = None,
) -> tuple[str, bool]:
    """Store a file. Return its import's id, and whether it is new: the same file or the same key is the same import.

    Raises:
        HTTPRequestEntityTooLarge: it has more than 100 MB. Nothing is kept.
    """
    import_id, digest, size, kept = uuid.uuid4().hex[:12], hashlib.sha256(), 0, None
    path = folder / import_id
    try:
        with await asyncio.to_thread(path.open, "xb") as file:
            async for piece in pieces:
                size += len(piece)
                if size > _LARGEST:
                    raise web.HTTPRequestEntityTooLarge(_LARGEST, size)
                digest.update(piece)
                await asyncio.to_thread(file.write, piece)
        async with connection() as opened:
            await opened.execute(_INSERT, (import_id, maker, digest.digest(), key, charset, delimiter))
        select = "SELECT id FROM onboarding.imports WHERE sha256 = %s OR idempotency_key = %s"
        kept = str(await fetch_value(select, digest.digest(), key))
    finally:
        if kept != import_id:
            path.unlink(missing_ok=True)
    return kept, kept == import_id
