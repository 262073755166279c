"""The servers of a run: those that the environment names, or an embedded stack."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import psycopg
from delegator_schema.queues import DEFAULT_QUEUE, queue_table
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile

from delegator.config import Settings
from delegator.dev import RunningStack, StackOptions, embedded_stack
from delegator.errors import ConfigurationError, DatabaseError, SchemaError, TemporalError
from delegator.runtime.temporal_client import load_data_converter
from loadtest.meters.statements import SETTINGS as STATEMENT_SETTINGS
from loadtest.meters.statements import StatementMeter, create_extension
from loadtest.results.statements import QUEUE, TEMPORAL

TEMPORAL_VARIABLE = "TEMPORAL_ADDRESS"
DATABASE_VARIABLE = "DELEGATOR_DATABASE_URL"
_CONNECT_TIMEOUT = 10  # seconds
_TEMPORAL_DATABASE = "temporal"
_MAINTENANCE_DATABASE = "postgres"  # has the extension, so that the measured databases stay as they are


class TemporalChoice(StrEnum):
    """Which Temporal the embedded stack has."""

    DEV = "dev"
    """The dev server, in memory."""
    POSTGRES = "postgres"
    """Temporal's own server on PostgreSQL, as production runs it."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of a run."""

    environment: Mapping[str, str] = field(repr=False)
    """Environment variables that lead to the servers; added to this process's own."""
    temporal: str
    """`dev` or `postgres` in the embedded stack, `deployed` for servers that the environment names."""
    processes: Mapping[str, int] = field(default_factory=dict)
    """Process ids of the servers, by name, as far as they are known."""
    temporal_metrics_url: str | None = None
    """Temporal's Prometheus metrics; None: unknown."""
    database_url: str | None = field(default=None, repr=False)
    """The delegator's database; None: no arm needs it."""
    temporal_database_url: str | None = field(default=None, repr=False)
    """Temporal's own database; None: it has none that we know."""
    statement_urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Databases whose servers count SQL statements, by the server's name; empty: they are not asked to."""

    @property
    def are_shared(self) -> bool:
        """Whether other programs may use them too."""
        return self.temporal == "deployed"

    @classmethod
    def of(
        cls, stack: RunningStack, temporal: TemporalChoice = TemporalChoice.DEV, *, statements: bool = False
    ) -> Self:
        """Return the servers of an embedded stack.

        Args:
            stack: the stack.
            temporal: which Temporal it has.
            statements: whether its PostgreSQL servers count statements.
        """
        own = stack.temporal_postgres
        counting = {QUEUE: stack.postgres, **({TEMPORAL: own} if own else {})} if statements else {}
        return cls(
            environment=stack.environment,
            temporal=temporal.value,
            processes=stack.pids,
            temporal_metrics_url=stack.temporal_metrics_url,
            database_url=stack.database_url,
            temporal_database_url=own.url(_TEMPORAL_DATABASE) if own else None,
            statement_urls={name: server.url(_MAINTENANCE_DATABASE) for name, server in counting.items()},
        )


@asynccontextmanager
async def servers(
    *, delegates: bool, temporal: TemporalChoice | None = None, statements: bool = False
) -> AsyncIterator[Servers]:
    """Provide the servers.

    Args:
        delegates: whether an arm needs the delegator's database.
        temporal: which Temporal the embedded stack has; None: the dev server, or that of the environment.
        statements: whether SQL statements are counted.

    Raises:
        ConfigurationError: the environment names one server and not the other, or `temporal` is given with servers.
        DependencyError: a server can't be reached or started.
    """
    address, database = os.environ.get(TEMPORAL_VARIABLE), os.environ.get(DATABASE_VARIABLE)
    if not address and not database:
        choice = temporal or TemporalChoice.DEV
        settings = STATEMENT_SETTINGS if statements else {}
        async with embedded_stack(StackOptions(temporal=choice.value, postgres_settings=settings)) as stack:
            found = Servers.of(stack, choice, statements=statements)
            for url in found.statement_urls.values():
                await create_extension(url)
            yield found
        return
    if temporal is not None:
        raise ConfigurationError(
            f"--temporal is for the embedded stack: unset {TEMPORAL_VARIABLE} and {DATABASE_VARIABLE} to have one"
        )
    missing = TEMPORAL_VARIABLE if not address else DATABASE_VARIABLE
    if not address or ((delegates or statements) and not database):
        raise ConfigurationError(f"{missing} is not set: set both variables, or neither to use an embedded stack")
    if delegates:
        await _check_database()
    url = Settings.load().database_url.get_secret_value() if database else ""
    if statements:
        async with StatementMeter(url):
            pass  # before a run, it says what the server lacks
    yield Servers(
        environment={},
        temporal="deployed",
        database_url=url if delegates else None,
        statement_urls={QUEUE: url} if statements else {},
    )


async def connect(environment: Mapping[str, str]) -> Client:
    """Connect the load generator to Temporal.

    Args:
        environment: added to this process's own.

    Raises:
        TemporalError: Temporal does not answer.
    """
    profile = ClientConfigProfile.load(override_env_vars={**os.environ, **environment})
    config = profile.to_client_connect_config()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            return await Client.connect(**config, data_converter=load_data_converter(Settings.load().data_converter))
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
