"""The tables, from `delegator_schema`."""

from __future__ import annotations

import sqlalchemy as sa
from delegator_schema.columns import (
    DEAD_LETTER_TABLE,
    LEASE_TABLE,
    OUTBOX_TABLE,
    PAUSE_TABLE,
    RATE_TABLE,
    TABLES,
    UNIQUE_TABLE,
    Column,
)
from delegator_schema.models import metadata
from delegator_schema.queues import BASE_TABLE
from delegator_schema.roles import ROLES
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from docs_reference.markdown import code, table

_PURPOSES = {
    BASE_TABLE: "A queue: one unfinished job a row. The default queue has this name; another queue's table has the "
    f"same columns and is called `{BASE_TABLE}_<queue>`.",
    LEASE_TABLE: "A process's lease: every job that names it is held for as long as the lease lives.",
    DEAD_LETTER_TABLE: "A job that the queue gave up on, or an operation of the outbox that Temporal refused, kept for "
    "people to look at and to replay.",
    OUTBOX_TABLE: "An operation on a workflow that an application has written in its own transaction.",
    UNIQUE_TABLE: "The id of a plain job that stays taken for a while (`unique_for`).",
    PAUSE_TABLE: "Queues and types that are paused.",
    RATE_TABLE: "When a fleet-wide rate allows the next start of a type, or of a type and a fairness key.",
}


def tables_page() -> str:
    """Return the Markdown of the tables."""
    return "\n".join(_section(name, columns) for name, columns in TABLES.items())


def _section(name: str, columns: tuple[Column, ...]) -> str:
    rows = [[code(one.name), one.type, "yes" if one.nullable else "", _default(one), one.meaning] for one in columns]
    return "\n".join(
        [
            f"## {name}\n",
            _PURPOSES[name] + "\n",
            table(["column", "type", "NULL", "default", "meaning"], rows),
            f"The primary key is `{columns[0].name}`.\n",
            *(f"- `{line}`" for line in _indexes(name)),
            "",
            *(f"- Role `{role.name}`: {', '.join(role.privileges(name)) or 'nothing'}." for role in ROLES),
            "",
        ]
    )


def _default(column: Column) -> str:
    return "numbered by PostgreSQL" if column.is_identity else code(column.default or "")


def _indexes(name: str) -> list[str]:
    found = metadata.tables[name]
    indexes = sorted(found.indexes, key=lambda index: str(index.name))
    checks = [check for check in found.constraints if isinstance(check, sa.CheckConstraint)]
    lines = [" ".join(str(CreateIndex(index).compile(dialect=postgresql.dialect())).split()) for index in indexes]  # type: ignore[no-untyped-call]
    return lines + [f"CHECK ({check.sqltext})" for check in checks]
