"""What a loop does about an error: it says so, waits, and goes on. No answer of the database ends a process."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import psycopg

from delegator.errors import DatabaseError, SchemaError, first_line
from delegator.postgres.connections import Connection
from delegator.postgres.error_classes import ErrorClass, classify, without_values
from delegator.postgres.shares import Lender
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionPart
from delegator.runtime.logs import place_of

_CURES: Final = {
    "42501": "run `delegator migrate --check`, which names the GRANT that is missing",
    "42P01": "run `delegator migrate`",
    "42703": "run `delegator migrate`",
    "42883": "run `delegator migrate`",
}
"""By SQLSTATE: a missing privilege, table, column or function."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


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
        self._logged: set[str] = set()

    def works(self) -> None:
        """Note that all statements of one turn of the loop succeeded."""
        self._logged.clear()
        self._backoff.reset()
        self._part.restored()

    def noted(self, problem: str | None) -> None:
        """Note a turn without an error of the database, and what still keeps the loop from its work.

        Args:
            problem: what only a person can end; None: nothing.
        """
        if problem is None:
            self.works()
            return
        if self._is_news(problem):
            _log.error("loop_blocked", extra={"loop": self._part.name, "reason": problem, "then": "try again"})
        self._part.lost(problem, refused=True)

    async def failed(self, error: Exception) -> None:
        """Note an error, log it unless it was logged since the last success, and pause before the next attempt.

        Args:
            error: usually a lost connection, or a refusal by the server. Any other error is a fault of this program:
                it is logged with its place, and the loop goes on, too.
        """
        await self.note_error(error)
        await self._backoff.sleep()

    async def note_error(self, error: Exception) -> None:
        """Note an error as `failed` does, without a pause: the loop has more to do that the error does not touch."""
        if isinstance(error, psycopg.Error):
            error_class = classify(error)
            if error_class is ErrorClass.UNAVAILABLE:
                self._part.lost(first_line(error) or type(error).__name__)
            else:
                reason = await self._refusal(error, error_class)
                if self._is_news(reason):
                    _log.error(
                        "database_refused",
                        extra={
                            "loop": self._part.name,
                            "sqlstate": error.sqlstate,
                            "reason": reason,
                            "then": "try again",
                        },
                    )
                self._part.lost(reason, refused=True)
        elif isinstance(error, DatabaseError):
            self._part.lost(str(error))
        else:
            reason = f"{type(error).__name__} at {place_of(error)}"
            if self._is_news(reason):
                _log.error("loop_failed", extra={"loop": self._part.name, "reason": reason, "then": "try again"})
            self._part.lost(reason)

    def ended(self) -> None:
        """Note that the loop ended."""
        self._logged.clear()
        self._part.forget()

    def _is_news(self, reason: str) -> bool:
        is_news = reason not in self._logged
        self._logged.add(reason)
        return is_news

    async def _refusal(self, error: psycopg.Error, error_class: ErrorClass) -> str:
        if error_class is ErrorClass.DATA:
            return without_values(error)
        try:
            await self._check()
        except SchemaError as missing:
            return str(missing)
        except DatabaseError:
            pass
        cure = _CURES.get(error.sqlstate or "")
        return f"{first_line(error)}: {cure}" if cure else first_line(error)


async def until_taken(pool: Lender, database: DatabaseWatch, statement: Callable[[Connection], Awaitable[T]]) -> T:
    """Run a statement, and repeat it until the server takes it.

    Args:
        pool: connections.
        database: gets each success and each error.
        statement: a repetition of it does no harm.

    Raises:
        psycopg.Error: a value of the statement is bad.
    """
    while True:
        try:
            async with pool.connection() as connection:
                result = await statement(connection)
        except psycopg.Error as error:
            if classify(error) is ErrorClass.DATA:
                raise
            await database.failed(error)
        else:
            database.works()
            return result
