"""What PostgreSQL wrote, read from its write-ahead log.

The statistics views are too late for windows of seconds: a backend reports at most once a second, and its last work
only after ten idle seconds. The log has every record at its exact place.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import psycopg

from loadtest.meters.statement_texts import OWN_MARK

_CONNECT_TIMEOUT: Final = 10  # seconds
_FLUSH_TIMEOUT: Final = 5.0  # seconds; the WAL writer needs less than one
_READ_TIMEOUT: Final = "60s"

_POSITION: Final = f"SELECT {OWN_MARK} pg_current_wal_insert_lsn()::text"
_DISTANCE: Final = "SELECT pg_wal_lsn_diff(%s::pg_lsn, %s::pg_lsn)::bigint"
_FLUSHED: Final = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn"
_LIMIT: Final = f"SET LOCAL statement_timeout = '{_READ_TIMEOUT}'"
_INSPECTOR: Final = "CREATE EXTENSION IF NOT EXISTS pg_walinspect"
_FIND_INSPECTOR: Final = """
SELECT set_config('search_path', quote_ident(nspname), true)
  FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
 WHERE extname = 'pg_walinspect'
"""
_RECORDS: Final = """
SELECT coalesce(sum(count) FILTER (WHERE record ~ '^Transaction/COMMIT'), 0)::bigint,
       coalesce(sum(count) FILTER (WHERE record ~ '^Heap/(UPDATE|HOT_UPDATE|DELETE)'), 0)::bigint,
       coalesce(sum(fpi_size), 0)::bigint
  FROM pg_get_wal_stats(%s::pg_lsn, %s::pg_lsn, true)
       AS statistics (record, count, count_percentage, record_size, record_size_percentage, fpi_size)
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What a PostgreSQL server wrote in a window."""

    wal_bytes: int | None
    """Bytes of write-ahead log; None: the server did not answer."""
    commits: int | None
    """Committed transactions that wrote; None: we have no right to read the log, or it is already removed."""
    dead_tuples: int | None
    """Old row versions left by updates and deletes; None: as for `commits`."""
    fpi_bytes: int | None
    """Bytes of full-page images, which a page's first change after a checkpoint writes; None: as for `commits`."""


class WalMeter:
    """Reads the write-ahead log of a server, with a connection for the length of an `async with` block."""

    def __init__(self, url: str) -> None:
        """Prepare.

        Args:
            url: of a database of the server. To get more than the number of bytes, the user must be a superuser, or a
                member of pg_read_server_files who may create extensions.
        """
        self._url = url
        self._connection: psycopg.AsyncConnection | None = None
        self._begin: str | None = None
        self._end: str | None = None

    async def __aenter__(self) -> Self:
        """Connect. A server that does not answer is left out of the costs."""
        with suppress(psycopg.Error):
            self._connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT
            )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()

    async def begin(self) -> None:
        """Begin the window."""
        self._begin, self._end = await self._position(), None

    async def end(self) -> None:
        """End the window."""
        self._end = await self._position()

    async def written(self) -> Written | None:
        """Return what was written in the window; None: the server did not answer."""
        if self._connection is None or self._begin is None or self._end is None:
            return None
        try:
            cursor = await self._connection.execute(_DISTANCE, (self._end, self._begin))
            row = await cursor.fetchone()
        except psycopg.Error:
            return None
        assert row is not None
        try:
            read = await self._records(self._connection) if row[0] else (0, 0, 0)
        except (psycopg.Error, TimeoutError):
            return Written(row[0], None, None, None)
        return Written(row[0], *read)

    async def _position(self) -> str | None:
        if self._connection is None:
            return None
        try:
            row = await (await self._connection.execute(_POSITION)).fetchone()
        except psycopg.Error:
            return None
        return row[0] if row else None

    async def _records(self, connection: psycopg.AsyncConnection) -> tuple[int, int, int]:
        async with asyncio.timeout(_FLUSH_TIMEOUT):
            # Only what is on disk can be inspected.
            while True:
                row = await (await connection.execute(_FLUSHED, (self._end,))).fetchone()
                if row is None or row[0]:
                    break
                await asyncio.sleep(0.02)
        # The rollback removes the extension if it was missing: the database stays as it was.
        async with connection.transaction(force_rollback=True):
            await connection.execute(_LIMIT)
            await connection.execute(_INSPECTOR)
            await connection.execute(_FIND_INSPECTOR)
            row = await (await connection.execute(_RECORDS, (self._begin, self._end))).fetchone()
        assert row is not None
        return row[0], row[1], row[2]
