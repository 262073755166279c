"""Takes a file in pieces, and finds out whether it is there already."""

from __future__ import annotations

import codecs
import hashlib
import uuid
from collections.abc import AsyncIterator

from psycopg.errors import UniqueViolation

from examples.database import connection

LARGEST = 100 * 1024 * 1024
PIECE = 256 * 1024
_INSERT = "INSERT INTO onboarding.imports (id, maker, state, delimiter) VALUES (%s, %s, 'uploading', %s)"


class TooLarge(Exception):
    """The file has more than 100 MB."""


async def store(
    pieces: AsyncIterator[bytes], maker: str, key: str | None, charset: str | None, delimiter: str | None
) -> tuple[str, bool]:
    """Store a file. Return its import's id, and whether it is new: the same file or the same key is the same import.

    Raises:
        TooLarge: nothing is kept.
    """
    import_id, digest, size, number = uuid.uuid4().hex[:12], hashlib.sha256(), 0, 0
    encoding = _Encoding(charset)
    async with connection() as opened:
        await opened.execute(_INSERT, (import_id, maker, delimiter))
        try:
            async for piece in pieces:
                size += len(piece)
                if size > LARGEST:
                    raise TooLarge
                digest.update(piece)
                encoding.look_at(piece)
                await opened.execute("INSERT INTO onboarding.chunks VALUES (%s, %s, %s)", (import_id, number, piece))
                number += 1
            update = (
                "UPDATE onboarding.imports SET state = 'checking', sha256 = %s, idempotency_key = %s, encoding = %s, "
                "encoding_guessed = %s WHERE id = %s"
            )
            values = (digest.digest(), key, encoding.name(), encoding.is_guessed(), import_id)
            await opened.execute(update, values)
            return import_id, True
        except BaseException as error:
            await opened.execute("DELETE FROM onboarding.imports WHERE id = %s", (import_id,))
            if not isinstance(error, UniqueViolation):
                raise
        select = "SELECT id FROM onboarding.imports WHERE sha256 = %s OR idempotency_key = %s"
        row = await (await opened.execute(select, (digest.digest(), key))).fetchone()
    assert row is not None
    return row[0], False


class _Encoding:
    """Finds the encoding while the file passes by."""

    def __init__(self, declared: str | None) -> None:
        self._declared = codecs.lookup(declared).name if declared else None
        self._start = b""
        self._utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()

    def look_at(self, piece: bytes) -> None:
        if len(self._start) < 4:
            self._start += piece[:4]
        try:
            if self._utf8:
                self._utf8.decode(piece)
        except UnicodeDecodeError:
            self._utf8 = None

    def name(self) -> str:
        if self._start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if self._declared not in (None, "utf-8"):
            return str(self._declared)
        return "utf-8-sig" if self._is_utf8() else "cp1252"

    def is_guessed(self) -> bool:
        return self.name() == "cp1252" and self._declared != "cp1252"

    def _is_utf8(self) -> bool:
        try:
            return self._utf8 is not None and self._utf8.decode(b"", final=True) == ""
        except UnicodeDecodeError:
            return False
