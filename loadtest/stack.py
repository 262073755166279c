"""The servers of a run: those that the environment names, else an embedded stack."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psycopg
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile

from delegator.config import Settings
from delegator.errors import ConfigurationError, DatabaseError, SchemaError, TemporalError
from schema.queues import DEFAULT_QUEUE, queue_table

TEMPORAL_VARIABLE = "TEMPORAL_ADDRESS"
DATABASE_VARIABLE = "DELEGATOR_DATABASE_URL"
_CONNECT_TIMEOUT = 10  # seconds


@asynccontextmanager
async def servers(*, delegates: bool) -> AsyncIterator[Mapping[str, str]]:
    """Provide the environment that reaches the servers.

    Args:
        delegates: whether an arm needs the delegator's database.

    Raises:
        ConfigurationError: the environment names half of what is needed.
        DependencyError: a server can't be reached.
    """
    temporal, database = os.environ.get(TEMPORAL_VARIABLE), os.environ.get(DATABASE_VARIABLE)
    if not temporal and not database:
        from delegator.dev import StackOptions, embedded_stack

        async with embedded_stack(StackOptions()) as stack:
            yield stack.environment
        return
    missing = TEMPORAL_VARIABLE if not temporal else DATABASE_VARIABLE
    if not temporal or (delegates and not database):
        raise ConfigurationError(f"{missing} is not set: set it too, or neither, for an embedded stack")
    if delegates:
        await _check_database()
    yield {}


async def connect(environment: Mapping[str, str]) -> Client:
    """Connect the load generator to Temporal.

    Args:
        environment: added to this process's own.

    Raises:
        TemporalError: it does not answer.
    """
    profile = ClientConfigProfile.load(override_env_vars={**os.environ, **environment})
    config = profile.to_client_connect_config()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            return await Client.connect(**config)
    except (RuntimeError, TimeoutError):
        raise TemporalError(
            f"Temporal at {config.get('target_host')} does not answer: is {TEMPORAL_VARIABLE} right? "
            f"(unset it and {DATABASE_VARIABLE} for an embedded stack)"
        ) from None


async def _check_database() -> None:
    settings = Settings.load()
    try:
        async with await psycopg.AsyncConnection.connect(
            settings.database_url.get_secret_value(), connect_timeout=_CONNECT_TIMEOUT, autocommit=True
        ) as connection:
            cursor = await connection.execute("SELECT to_regclass(%s)", (queue_table(DEFAULT_QUEUE),))
            row = await cursor.fetchone()
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise DatabaseError(f"the database does not answer ({reason}): is {DATABASE_VARIABLE} right?") from None
    if row is None or row[0] is None:
        raise SchemaError(f"the database has no table {queue_table(DEFAULT_QUEUE)}: run `delegator migrate`")
