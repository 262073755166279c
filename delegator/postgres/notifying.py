"""Statements that notify other processes, and what becomes of them when PostgreSQL's queue of notifications is full.

A session that listens and stays in one transaction keeps every notification of the whole server. When the queue is
full, each statement that notifies fails, and goes on failing after that session has ended: PostgreSQL frees the queue
only when somebody reads or sends. (PostgreSQL manual, "NOTIFY".)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from delegator.errors import first_line
from delegator.postgres.sessions import Connection

_log = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 5.0
"""Time between two attempts to notify while the queue is full."""
_FREED: Final = 0.5
_NOTIFY: Final = b"pg_notify("
_NOTHING: Final = b"concat("
_ADVANCE: Final = b"SELECT pg_notification_queue_usage()"
"""Also lets PostgreSQL free what every listener has read."""
_OLDEST: Final = b"""
SELECT format('session %s of role %s, in a transaction since %s', pid, usename, xact_start)
FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1
"""


class Notifying:
    """Runs statements that notify. A full queue of notifications costs time and stops nothing: listeners also poll."""

    def __init__(self) -> None:
        self._silent_until = 0.0
        self._is_full = False

    async def execute(
        self,
        connection: Connection,
        statement: bytes,
        parameters: Mapping[str, object] | None = None,
        **options: Any,
    ) -> psycopg.AsyncCursor[TupleRow]:
        """Run a statement. If it can't notify, run it without notifications.

        In a transaction PostgreSQL sends notifications when the transaction ends, so there nothing can be done.

        Args:
            connection: where to.
            statement: it calls `pg_notify`.
            parameters: its parameters.
            options: more arguments of psycopg's `execute`.

        Raises:
            psycopg.Error: the statement failed for another reason.
        """
        if time.monotonic() < self._silent_until and connection.pgconn.transaction_status == TransactionStatus.IDLE:
            return await self._run_silently(connection, statement, parameters, options)
        try:
            cursor = await connection.execute(statement, parameters, **options)
        except psycopg.errors.ProgramLimitExceeded as error:  # also that of a value which is too large
            if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                raise
            row = await (await connection.execute(_ADVANCE)).fetchone()
            if row is None or row[0] < _FREED:
                cursor = await connection.execute(statement, parameters, **options)
            else:
                cursor = await self._run_silently(connection, statement, parameters, options)
                await self._note_full(connection, error)
                return cursor
        if self._is_full:
            self._is_full = False
            _log.info("notifications_back")
        return cursor

    async def _run_silently(
        self, connection: Connection, statement: bytes, parameters: Mapping[str, object] | None, options: dict[str, Any]
    ) -> psycopg.AsyncCursor[TupleRow]:
        return await connection.execute(statement.replace(_NOTIFY, _NOTHING), parameters, **options)

    async def _note_full(self, connection: Connection, error: psycopg.Error) -> None:
        self._silent_until = time.monotonic() + _PAUSE_SECONDS
        if not self._is_full:
            self._is_full = True
            row = await (await connection.execute(_OLDEST)).fetchone()
            extra = {"reason": first_line(error), "oldest": None if row is None else row[0], "then": "go on without"}
            _log.error("notifications_full", extra=extra)
