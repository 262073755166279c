"""Reads what the role of a session may do: its groups, the tables that it may read, and what it sees of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from delegator_schema.ddl import quote
from delegator_schema.roles import APP, ROLES, Role

from delegator.postgres.connections import Connection

_GROUPS: Final = b"""
SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY(%s) AND pg_has_role(oid, 'USAGE')
"""
_UNREADABLE: Final = b"""
SELECT wanted.name FROM unnest(%s::text[], %s::text[]) AS wanted (name, quoted)
WHERE NOT has_table_privilege(to_regclass(wanted.quoted), 'SELECT')
"""
_SEES_OTHERS: Final = b"SELECT pg_has_role('pg_read_all_stats', 'USAGE'), quote_ident(current_user)"


async def groups(connection: Connection) -> tuple[Role, ...]:
    """Return the engine's group roles whose privileges this session has: only `delegator_app`, if it has those."""
    rows = await (await connection.execute(_GROUPS, ([role.name for role in ROLES],))).fetchall()
    names = {name for (name,) in rows}
    return (APP,) if APP.name in names else tuple(role for role in ROLES if role.name in names)


async def unreadable(connection: Connection, tables: Sequence[str]) -> list[str]:
    """Return those of the named tables that exist and that this session may not read."""
    rows = await (await connection.execute(_UNREADABLE, (list(tables), [quote(name) for name in tables]))).fetchall()
    return [name for (name,) in rows]


async def blind_role(connection: Connection) -> str | None:
    """Return this session's role, quoted, if the server hides from it what the sessions of others do; else None."""
    row = await (await connection.execute(_SEES_OTHERS)).fetchone()
    return None if row is None or row[0] else str(row[1])
