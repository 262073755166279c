"""The servers of a run: those that the environment names, or an embedded stack."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from delegator_schema.queues import DEFAULT_QUEUE
from delegator_schema.roles import ENQUEUER, WORKER
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile

from delegator.config import Settings
from delegator.dev import RunningStack, StackOptions, embedded_stack
from delegator.errors import ConfigurationError, DatabaseError, TemporalError
from delegator.postgres.schema_check import check
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
    url = database_url(Settings.load()) if database else ""
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


def database_url(settings: Settings) -> str:
    """Return the address of the queue's database, whose sessions find the tables in their schema without its name."""
    url = settings.database_url.get_secret_value()
    if settings.schema_name is None:
        return url
    options = conninfo_to_dict(url).get("options")
    return make_conninfo(url, options=f"{options or ''} -c search_path={settings.schema_name}".strip())


async def _check_database() -> None:
    """Make sure that the database is migrated, and that this role may do what workers and Temporal workers do."""
    settings = Settings.load()
    try:
        for process in (ENQUEUER, WORKER):
            await check(settings, queues=(DEFAULT_QUEUE,), process=process)
    except DatabaseError as error:
        raise DatabaseError(f"{error}; is {DATABASE_VARIABLE} right?") from None
