"""Generates Sequin's configuration from the declared queues, so that the two always agree.

Each queue has its own database entry, because each entry has one slot. Sequin stops reading a slot while a sink of it
is full (50,000 messages or about 100 MiB). With one slot a queue without workers would stop all other queues.

The `PG_*` variables in Sequin's environment are for Sequin's own database. So the variables of the database that it
streams from have other names here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import psycopg
from delegator_schema.publications import PUBLICATION
from delegator_schema.queues import DEFAULT_QUEUE, queue_publication, queue_slot, queue_table
from psycopg.conninfo import conninfo_to_dict

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.postgres.connections import no_database_url

ACCOUNT = "delegator"
DATABASE = "delegator"
"""Name of the default queue's database entry. For another queue its name is appended."""
_POOL_SIZE = 5
"""Connections that Sequin holds for each queue. Pull sinks need few."""
_HEADER = """\
# Written by `delegator sequin-config`; write it again after the queues change. Apply it after `delegator migrate`:
# Sequin stops at once when a table is missing. Sequin fills in these variables of its environment:
#   DELEGATOR_STREAM_TOKEN   the token that workers send
#   SEQUIN_TOKEN_NAME        the token's name; with a known name and another token Sequin stops at its start
#   DELEGATOR_PG_PASSWORD    password of the role that streams: REPLICATION, and a member of delegator_stream
#   DELEGATOR_PG_HOSTNAME, DELEGATOR_PG_PORT, DELEGATOR_PG_DATABASE, DELEGATOR_PG_USERNAME   where the queues are
#   SEQUIN_ADMIN_EMAIL, SEQUIN_ADMIN_PASSWORD   who may log in to Sequin's console
"""
# Other characters could end the default of ${NAME:-default}, or start a substitution.
_SAFE_DEFAULT = re.compile(r"[\w.:@/+-]+", re.ASCII)


def render_config(settings: Settings, *, schema: str = "public") -> str:
    """Render `sequin.yml`: for each declared queue a sink and its database entry. It holds no secret.

    Args:
        settings: the queues, and where the database is.
        schema: PostgreSQL schema that holds the tables.

    Raises:
        ConfigurationError: the database URL is not one, or `schema` can't be written there.
    """
    if not _SAFE_DEFAULT.fullmatch(schema):
        raise ConfigurationError(f"--schema: {schema!r} can't be written to sequin.yml: use letters, digits and _")
    document = {
        "account": {"name": ACCOUNT},
        "users": [
            {
                "email": _variable("SEQUIN_ADMIN_EMAIL", "admin@example.com"),
                "password": _variable("SEQUIN_ADMIN_PASSWORD"),
            }
        ],
        # Sequin ends at its start when a name that it knows has another token. So a new token needs a new name.
        "api_tokens": [
            {
                "name": _variable("SEQUIN_TOKEN_NAME", "delegator-workers"),
                "token": _variable("DELEGATOR_STREAM_TOKEN"),
            }
        ],
        "databases": [_database(settings, queue) for queue in settings.queues],
        "sinks": [_sink(queue, schema) for queue in settings.queues],
    }
    return _HEADER + "".join(f"{line}\n" for line in _yaml(document))


def _database_name(queue: str) -> str:
    return DATABASE if queue == DEFAULT_QUEUE else f"{DATABASE}_{queue}"


def _database(settings: Settings, queue: str) -> Mapping[str, object]:
    try:
        target = conninfo_to_dict(settings.database_url.get_secret_value())
    except psycopg.ProgrammingError:
        raise no_database_url() from None
    user = str(target.get("user") or "postgres")
    return {
        "name": _database_name(queue),
        "hostname": _variable("DELEGATOR_PG_HOSTNAME", str(target.get("host") or "127.0.0.1")),
        "port": _variable("DELEGATOR_PG_PORT", str(target.get("port") or "5432")),
        "database": _variable("DELEGATOR_PG_DATABASE", str(target.get("dbname") or user)),
        "username": _variable("DELEGATOR_PG_USERNAME", user),
        "password": _variable("DELEGATOR_PG_PASSWORD"),
        "ssl": str(target.get("sslmode")) in ("require", "verify-ca", "verify-full"),
        "pool_size": _POOL_SIZE,
        "slot": {"name": queue_slot(queue, settings.slot), "create_if_not_exists": True},
        # `delegator migrate` makes it. Sequin would make one that publishes every table and column, and also updates.
        "publication": {"name": queue_publication(queue, settings.publication), "create_if_not_exists": False},
        "await_database": {"timeout_ms": 60_000, "interval_ms": 1_000},
    }


def _sink(queue: str, schema: str) -> Mapping[str, object]:
    table = queue_table(queue)
    return {
        "name": table,
        "database": _database_name(queue),
        "status": "active",
        "source": {"include_tables": [f"{schema}.{table}"]},
        "actions": list(PUBLICATION.publish),
        # With grouping a message waits until the previous one with the same key is acknowledged.
        "message_grouping": False,
        "destination": {"type": "sequin_stream"},
    }


def _variable(name: str, default: str = "") -> str:
    return f"${{{name}:-{default}}}" if _SAFE_DEFAULT.fullmatch(default) else f"${{{name}}}"


def _yaml(value: object, indent: str = "") -> Iterator[str]:
    """Write YAML in block style. Strings are quoted as in JSON, because YAML reads that form too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, Mapping | list):
                yield f"{indent}{key}:"
                yield from _yaml(item, indent + "  ")
            elif isinstance(item, str) and item.startswith("${"):
                # A password may hold quotes. Sequin fills it in before it parses the text, so only a block keeps it.
                yield f"{indent}{key}: |-"
                yield f"{indent}  {item}"
            else:
                yield f"{indent}{key}: {json.dumps(item)}"
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            first, *rest = _yaml(item, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
    else:
        yield f"{indent}{json.dumps(value)}"
