"""Connection strings of libpq, for people."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from delegator.postgres.connections import no_database_url

_SECRETS: Final = frozenset({"password", "sslpassword", "oauth_client_secret"})
"""Parameters of libpq that are secrets (PostgreSQL manual, 32.1.2 "Parameter Key Words")."""


def describe_url(database_url: str, mask: str) -> str:
    """Return a connection string as libpq reads it, without its secrets.

    Args:
        database_url: libpq connection string or URL.
        mask: stands for a secret.

    Raises:
        ConfigurationError: `database_url` is not one.
    """
    try:
        given = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        raise no_database_url() from None
    return " ".join(f"{name}={mask if name in _SECRETS else value}" for name, value in given.items())
