"""What the outbox's tests ask Temporal and the table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode


async def eventually(look: Callable[[], Awaitable[Any]], *, within: float = 60.0) -> Any:
    """Ask until the answer is true, and return it."""
    async with asyncio.timeout(within):
        while not (answer := await look()):
            await asyncio.sleep(0.01)
        return answer


async def status(client: Client, workflow_id: str) -> WorkflowExecutionStatus | None:
    """Return the state of the latest run; None: there is none."""
    try:
        return (await client.get_workflow_handle(workflow_id).describe()).status
    except RPCError as error:
        assert error.status is RPCStatusCode.NOT_FOUND, error
        return None


async def result(client: Client, workflow_id: str) -> Any:
    """Wait until a workflow exists, and return its result."""
    await eventually(lambda: status(client, workflow_id))
    return await client.get_workflow_handle(workflow_id).result()


async def is_empty(url: str) -> bool:
    """Return whether no operation waits."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return await (await connection.execute("SELECT FROM custom_task_outbox LIMIT 1")).fetchone() is None


async def dead_letters(url: str, workflow_id: str) -> list[tuple[str, str, str]]:
    """Return the operations on a workflow that were given up, as (operation, reason, error)."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(
            "SELECT operation, reason, error FROM custom_task_dead_letter WHERE workflow_id = %s ORDER BY 1",
            (workflow_id,),
        )
        return await cursor.fetchall()
