"""Where a stream comes from, and the checks that it can be streamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from delegator_schema.publications import PUBLICATION

from delegator.errors import ConfigurationError, SchemaError
from delegator.postgres import replication
from delegator.postgres.connections import Connection
from delegator.postgres.replication import Slot
from delegator.relay.options import Feed

_FIX: Final = "run `delegator migrate`"


@dataclass(frozen=True, slots=True)
class Source:
    """The table that a stream comes from, as its messages name it."""

    host: str
    """Its server."""
    database: str
    """Its database."""
    schema: str
    """Its schema."""
    table: str
    """Its name."""
    publication: str
    """The publication that streams its inserts."""


@dataclass(frozen=True, slots=True)
class History:
    """Which history positions in the WAL belong to: two positions can be compared only within one history."""

    system_id: str
    """The cluster."""
    timeline: int
    """Grows when a standby is promoted and when a backup is restored."""


async def inspect(connection: Connection, feed: Feed) -> tuple[Source, History]:
    """Check that a queue can be streamed.

    Args:
        connection: a replication connection.
        feed: the queue's table and publication.

    Raises:
        ConfigurationError: the server does not do logical decoding.
        SchemaError: the table or the publication is missing, or the publication is not as `delegator migrate` makes it.
    """
    server = await replication.identify(connection)
    if server.wal_level != "logical":
        raise ConfigurationError(
            f"PostgreSQL runs with wal_level={server.wal_level}: "
            "set wal_level = logical in postgresql.conf and restart it"
        )
    schema = await check_published(connection, feed, server.database)
    source = Source(connection.info.host, server.database, schema, feed.table, feed.publication)
    return source, History(server.system_id, server.timeline)


async def check_published(connection: Connection, feed: Feed, database: str) -> str:
    """Check that a queue's table is published as declared. Return the table's schema.

    Args:
        connection: any connection to the queue's database.
        feed: the queue's table and publication.
        database: the database's name, for messages.

    Raises:
        SchemaError: the table or the publication is missing, or the publication is not as `delegator migrate` makes it.
    """
    table, publication = feed.table, feed.publication
    found = await replication.find_published(connection, table, publication)
    if found.schema is None:
        raise SchemaError(
            f"table {table} does not exist in database {database}: {_FIX} with DELEGATOR_QUEUES naming its queue"
        )
    if not found.publication_exists:
        raise SchemaError(f"publication {publication} does not exist in database {database}: {_FIX}")
    if not found.inserts:
        raise SchemaError(f"publication {publication} does not publish inserts: {_FIX}")
    if found.columns is None:
        raise SchemaError(f"table {table} is not in publication {publication}: {_FIX}")
    check_columns(found.columns, table, publication)
    if found.filtered:
        raise SchemaError(f"publication {publication} leaves out rows of table {table} by a WHERE clause: {_FIX}")
    return found.schema


def check_columns(columns: tuple[str, ...], table: str, publication: str) -> None:
    """Check that of each new row only the job's id and its fencing token are published.

    Messages have no place for another column, and payloads must not leave the database through the stream.

    Args:
        columns: names of the published columns, in the order of the table.
        table: a queue's table.
        publication: publishes it.

    Raises:
        SchemaError: other columns are published, or not both of these.
    """
    if columns != PUBLICATION.columns:
        wanted = " and ".join(PUBLICATION.columns)
        raise SchemaError(
            f"publication {publication} does not publish just {wanted} of table {table} "
            f"(but {', '.join(columns[:5])}{', ...' if len(columns) > 5 else ''}): {_FIX}"
        )


async def find_slot(connection: Connection, feed: Feed) -> Slot | None:
    """Return the state of a queue's slot; None: it does not exist.

    Args:
        connection: any connection to the queue's database.
        feed: the queue's slot.

    Raises:
        ConfigurationError: a slot of this name serves something else.
    """
    slot = await replication.find_slot(connection, feed.slot)
    if slot is not None and (slot.plugin != "pgoutput" or slot.database != connection.info.dbname):
        raise ConfigurationError(
            f"replication slot {feed.slot} belongs to plugin {slot.plugin}, database {slot.database}: choose another "
            "name with DELEGATOR_SLOT"
        )
    return slot
