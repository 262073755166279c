"""Refuse to run on servers that have other work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from delegator_schema.queues import DEFAULT_QUEUE, queue_table
from temporalio.client import Client
from temporalio.service import RPCError

from delegator.errors import ConfigurationError
from delegator.postgres.connections import connect as connect_database
from loadtest.servers.stack import Servers, TemporalChoice, connect, servers

_WAIT_SECONDS: Final = 5.0  # Temporal's list of open workflows still has those that ended just now
_PAUSE: Final = 0.25
_TABLE: Final = queue_table(DEFAULT_QUEUE)

_ROWS: Final = f"SELECT count(*) FROM (SELECT FROM {_TABLE} WHERE outcome IS NULL LIMIT 1000) AS unfinished"
_HOLDERS: Final = """
SELECT role || ' ' || holder FROM custom_task_lease
WHERE expires_at > now() AND (queue = %s OR role = 'enqueuer') ORDER BY 1
"""


@asynccontextmanager
async def undisturbed_servers(
    *, delegates: bool, temporal: TemporalChoice | None = None, shared: bool, statements: bool = False
) -> AsyncIterator[Servers]:
    """Provide the servers, as `servers` does, if they have no other work.

    Args:
        delegates: whether an arm needs the delegator's database.
        temporal: which Temporal the embedded stack has; None: the dev server, or that of the environment.
        shared: whether to allow other work.
        statements: whether SQL statements are counted.

    Raises:
        ConfigurationError: they have other work, or as for `servers`.
        DependencyError: a server can't be reached or started.
    """
    async with servers(delegates=delegates, temporal=temporal, statements=statements) as available:
        if not shared:
            await refuse_other_work(available)
        yield available


async def refuse_other_work(deployment: Servers, wait_seconds: float = _WAIT_SECONDS) -> None:
    """Refuse a deployment that has other work. An embedded stack never has.

    Args:
        deployment: the servers.
        wait_seconds: how long the last of the other work may take to end.

    Raises:
        ConfigurationError: it has other work, which the message names.
        DependencyError: a server does not answer.
    """
    if not deployment.are_shared:
        return
    client = await connect(deployment.environment)
    deadline = time.monotonic() + wait_seconds
    found = await _other_work(client, deployment.database_url)
    while found and time.monotonic() < deadline:
        await asyncio.sleep(_PAUSE)
        found = await _other_work(client, deployment.database_url)
    if found:
        raise ConfigurationError(
            f"these servers have other work ({'; '.join(found)}): it would distort the numbers, its workers would take "
            "our jobs, and our workers would take its jobs and make dead letters of them. Use other servers, or add "
            "--shared"
        )


async def _other_work(client: Client, database_url: str | None) -> Sequence[str]:
    found = []
    if workflows := await _open_workflows(client):
        found.append(f"{workflows} open workflows in namespace {client.namespace}")
    if database_url is not None:
        async with await connect_database(database_url, application_name="loadtest") as connection:
            row = await (await connection.execute(_ROWS)).fetchone()
            if row and row[0]:
                found.append(f"{row[0]}{' or more' if row[0] == 1000 else ''} unfinished jobs in {_TABLE}")
            holders = [row[0] for row in await (await connection.execute(_HOLDERS, (DEFAULT_QUEUE,))).fetchall()]
            if holders:
                found.append(f"live leases of {', '.join(holders[:3])}{' and others' if len(holders) > 3 else ''}")
    return found


async def _open_workflows(client: Client) -> int:
    try:
        return (await client.count_workflows("ExecutionStatus = 'Running'")).count
    except RPCError as error:
        raise ConfigurationError(
            f"Temporal does not say whether namespace {client.namespace} has open workflows ({error.message}): "
            "add --shared to run all the same"
        ) from None
