"""What a loop of the maintenance process does about a database error: it says so, and goes on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg

from delegator.errors import DatabaseError, SchemaError, first_line
from delegator.postgres.connections import TRANSIENT
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionPart

_CURES: Final = {
    "42501": "run `delegator migrate --check`, which names the GRANT that is missing",
    "42P01": "run `delegator migrate`",
    "42703": "run `delegator migrate`",
    "42883": "run `delegator migrate`",
}
"""By SQLSTATE: a missing privilege, table, column or function."""

_log = logging.getLogger(__name__)


class DatabaseWatch:
    """The database as one loop sees it. The loop calls `works` after each success and `failed` after each error."""

    def __init__(self, part: ConnectionPart, check: Callable[[], Awaitable[object]]) -> None:
        """Begin without an error.

        Args:
            part: gets the state of the connection.
            check: the check of the schema. It raises SchemaError with the cure of what is missing.
        """
        self._part = part
        self._check = check
        self._backoff = Backoff()
        self._logged: str | None = None

    def works(self) -> None:
        """Note that all statements of one turn of the loop succeeded."""
        self._logged = None
        self._backoff.reset()
        self._part.restored()

    async def failed(self, error: psycopg.Error | DatabaseError) -> None:
        """Note an error, log it unless the last one was the same, and pause before the next attempt.

        Args:
            error: a lost connection, or a refusal by the server.
        """
        if isinstance(error, (DatabaseError, *TRANSIENT)):
            self._part.lost(first_line(error))
        else:
            reason = await self._reason(error)
            if reason != self._logged:
                self._logged = reason
                _log.error(
                    "database_refused",
                    extra={"loop": self._part.name, "sqlstate": error.sqlstate, "reason": reason, "then": "try again"},
                )
            self._part.lost(reason, refused=True)
        await self._backoff.sleep()

    def ended(self) -> None:
        """Note that the loop ended."""
        self._logged = None
        self._part.forget()

    async def _reason(self, error: psycopg.Error) -> str:
        try:
            await self._check()
        except SchemaError as missing:
            return str(missing)
        except DatabaseError:
            pass
        cure = _CURES.get(error.sqlstate or "")
        return f"{first_line(error)}: {cure}" if cure else first_line(error)
