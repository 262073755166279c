"""Compares roles and their privileges."""

from __future__ import annotations

from collections.abc import Sequence

from delegator_schema.ddl import quote
from delegator_schema.roles import ROLES, Role
from psycopg import AsyncConnection

from delegator.migrate.drift.finding import Finding

_ROLE = """
    SELECT rolcanlogin, current_schema()::text, has_schema_privilege(oid, current_schema(), 'USAGE')
    FROM pg_catalog.pg_roles WHERE rolname = %s"""
_GRANTS = """
    SELECT relname, array_agg(privilege_type) FROM pg_catalog.pg_class CROSS JOIN aclexplode(relacl) AS granted
    JOIN pg_catalog.pg_roles ON pg_roles.oid = granted.grantee
    WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = ANY(%s) AND rolname = %s
    GROUP BY relname"""


async def check_roles(connection: AsyncConnection, tables: Sequence[str]) -> list[Finding]:
    """Compare the group roles and their privileges on `tables`."""
    findings = []
    for role in ROLES:
        found = await (await connection.execute(_ROLE, [role.name])).fetchone()
        if found is None:
            fix = f"CREATE ROLE {quote(role.name)} NOLOGIN, then run `delegator migrate --check` for its grants"
            findings.append(Finding("role", f"role {role.name} is missing", fix))
            continue
        can_log_in, schema, may_use_schema = found
        if can_log_in:
            fix = f"ALTER ROLE {quote(role.name)} NOLOGIN; log-in roles are made members of it"
            findings.append(Finding("role", f"role {role.name} can log in", fix))
        if schema is None:  # it does not exist yet, so nothing in it can be granted
            continue
        if not may_use_schema:
            fix = f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(role.name)}"
            findings.append(Finding("grant", f"role {role.name} may not use schema {schema}", fix))
        findings += await _check_grants(connection, role, tables)
    return findings


async def _check_grants(connection: AsyncConnection, role: Role, tables: Sequence[str]) -> list[Finding]:
    rows = await (await connection.execute(_GRANTS, [list(tables), role.name])).fetchall()
    granted = {table: set(privileges) for table, privileges in rows}
    findings = []
    for table in tables:
        declared, present = role.privileges(table), granted.get(table, set())
        if lacking := ", ".join(privilege for privilege in declared if privilege not in present):
            fix = f"GRANT {lacking} ON TABLE {quote(table)} TO {quote(role.name)}"
            findings.append(Finding("grant", f"role {role.name} lacks {lacking} on {table}", fix))
        if excess := ", ".join(sorted(present.difference(declared))):
            fix = f"REVOKE {excess} ON TABLE {quote(table)} FROM {quote(role.name)}"
            findings.append(Finding("grant", f"role {role.name} has {excess} on {table}, undeclared", fix))
    return findings
