"""Leave the servers as they were before a run, even if it fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

import psycopg
from delegator_schema.queues import DEFAULT_QUEUE, queue_table
from temporalio.service import RPCError, RPCStatusCode

from delegator.errors import DatabaseError
from delegator.postgres.connections import connect as connect_database
from loadtest.arms.base import Arm, Session
from loadtest.meters.statement_texts import OWN_MARK

_AT_ONCE: Final = 50  # requests in flight
_CLEANUP_SECONDS: Final = 30.0

_LAST_SIGNALS_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02

_UNFINISHED: Final = f"""
SELECT {OWN_MARK} EXISTS (
    SELECT FROM {queue_table(DEFAULT_QUEUE)} WHERE starts_with(workflow_id, %s) AND outcome IS NULL
)
"""
_DELETE_ROWS: Final = f"DELETE {OWN_MARK} FROM {queue_table(DEFAULT_QUEUE)} WHERE starts_with(workflow_id, %s)"
_DELETE_READ: Final = f"{_DELETE_ROWS} AND outcome IS NOT NULL"
_DELETE_DEAD_LETTERS: Final = "DELETE FROM custom_task_dead_letter WHERE starts_with(workflow_id, %s)"
_DELETE_LEASES: Final = "DELETE FROM custom_task_lease WHERE holder = ANY(%s)"


@asynccontextmanager
async def terminating(arm: Arm, session: Session, complain: Callable[[str], None]) -> AsyncIterator[None]:
    """End executions that are still open when the block ends.

    Args:
        arm: the arm that ran.
        session: the run.
        complain: called if it is not possible.
    """
    try:
        yield
    finally:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def terminate(execution: str) -> None:
            async with gate:
                try:
                    await arm.terminate(session, execution)
                except RPCError as error:
                    if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended meanwhile, or never began
                        raise

        try:
            async with asyncio.timeout(_CLEANUP_SECONDS):
                results = await asyncio.gather(*map(terminate, sorted(session.open)), return_exceptions=True)
        except TimeoutError:
            results = [TimeoutError("no answer")]
        if failures := [result for result in results if isinstance(result, BaseException)]:
            complain(f"workflows named {session.prefix}* may still be open: {failures[0]}")


async def finish_rows(session: Session) -> None:
    """Delete the rows that outlive their workflows, so that the run pays for it.

    The row of a job whose outcome came by signal is deleted just after the signal. The row of a job whose outcome was
    read inline is kept for a while, because the workflow task may run again: longer than most runs take.

    Args:
        session: the run.
    """
    if session.database_url is None:
        return
    async with await connect_database(session.database_url, application_name="loadtest") as connection:
        with suppress(TimeoutError):  # jobs of a failed workflow
            async with asyncio.timeout(_LAST_SIGNALS_SECONDS):
                while True:
                    row = await (await connection.execute(_UNFINISHED, (session.prefix,))).fetchone()
                    if row is None or not row[0]:
                        break
                    await asyncio.sleep(_LOOK_SECONDS)
        await connection.execute(_DELETE_READ, (session.prefix,))


@asynccontextmanager
async def deleting(session: Session, pids: Iterable[int], complain: Callable[[str], None]) -> AsyncIterator[None]:
    """Delete a run's rows and leases when the block ends, and the run's workers with it.

    Args:
        session: the run.
        pids: its worker processes; they are read when the block ends.
        complain: called if it is not possible.
    """
    try:
        yield
    finally:
        if session.database_url is not None:
            try:
                async with asyncio.timeout(_CLEANUP_SECONDS):
                    await _delete(session.database_url, session.prefix, pids)
            except (DatabaseError, psycopg.Error, TimeoutError) as error:
                complain(f"rows of workflows named {session.prefix}* may be left in the database: {error}")


async def _delete(database_url: str, prefix: str, pids: Iterable[int]) -> None:
    host = socket.gethostname()
    async with await connect_database(database_url, application_name="loadtest") as connection:
        await connection.execute(_DELETE_ROWS, (prefix,))
        await connection.execute(_DELETE_DEAD_LETTERS, (prefix,))
        await connection.execute(_DELETE_LEASES, ([f"{pid}@{host}" for pid in pids],))
