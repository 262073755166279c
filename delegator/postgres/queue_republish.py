"""Republication: the same jobs inserted anew, so that the stream delivers them once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from delegator_schema.columns import column_names
from delegator_schema.queues import BASE_TABLE
from psycopg import sql

UNCLAIMED: Final = sql.SQL("lease_id IS NULL AND outcome IS NULL AND retry_at IS NULL")
"""Jobs that nobody holds and that wait for nothing but their delivery."""

_CHANGED: Final[Mapping[str, sql.Composable]] = {
    "published_at": sql.SQL("now()"),
    "fencing_token": sql.SQL("greatest(fencing_token + 1, pg_current_xact_id()::text::int8)"),
}
_STATEMENT: Final = sql.SQL("""
WITH due AS MATERIALIZED (
    SELECT job_id FROM {table} WHERE {condition} ORDER BY published_at LIMIT {limit} FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {table} AS job USING due WHERE job.job_id = due.job_id RETURNING job.*
)
INSERT INTO {table} ({columns}) SELECT {values} FROM gone ORDER BY gone.published_at, gone.job_id
""")


def republish_statement(
    table: str,
    condition: sql.Composable = UNCLAIMED,
    changes: Mapping[str, sql.Composable] | None = None,
    limit: int | None = None,
) -> sql.Composed:
    """Build the statement that deletes and inserts jobs, oldest emission first.

    The DELETE's rows feed the INSERT, so each row is gone, for this transaction, before its key is inserted
    again, and the key does not conflict. Rows that another transaction holds are left to it.

    Args:
        table: a queue's table.
        condition: which jobs; parameters of its own are named. `published_at < %(before)s` keeps a repeated
            statement from finding what it has just inserted.
        changes: columns that get a new value beside `published_at` and the fence, as expressions over the old row.
        limit: most rows; a generic plan that does not know it would rather sort the whole table than walk an index.
            None: a parameter.

    Returns:
        A statement with the parameters of `condition` and, unless it is given, `limit` (rows); its row count is the
        number of jobs republished.
    """
    changed = {**_CHANGED, **(changes or {})}
    names = column_names(BASE_TABLE)
    return _STATEMENT.format(
        table=sql.Identifier(table),
        condition=condition,
        limit=sql.Placeholder("limit") if limit is None else sql.Literal(limit),
        columns=sql.SQL(", ").join(map(sql.Identifier, names)),
        values=sql.SQL(", ").join(changed.get(name, sql.Identifier(name)) for name in names),
    )
