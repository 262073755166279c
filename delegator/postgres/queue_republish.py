"""Republishing: jobs are deleted and inserted again, so that the stream delivers them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from delegator_schema.columns import column_names
from delegator_schema.queues import BASE_TABLE

from delegator.postgres.fragments import LANE, NEXT_FENCING_TOKEN

UNCLAIMED: Final = "q.lease_id IS NULL AND q.outcome IS NULL AND q.retry_at IS NULL"
"""Jobs that wait only for their delivery."""

# A job of an ordered queue goes to the end of its line.
_CHANGED: Final = {
    "published_at": "now()",
    "fencing_token": NEXT_FENCING_TOKEN,
    "lane": f"CASE WHEN q.priority IS NOT NULL THEN {LANE} END",
    "permit": "NULL",
}
_STATEMENT: Final = """
WITH due AS MATERIALIZED (
    SELECT job_id FROM {{table}} AS q WHERE {condition} ORDER BY published_at LIMIT {limit} FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {{table}} AS job USING due WHERE job.job_id = due.job_id RETURNING job.*
)
INSERT INTO {{table}} ({columns}) SELECT {values} FROM gone AS q ORDER BY q.published_at, q.job_id
"""


def republish_template(
    condition: str = UNCLAIMED, changes: Mapping[str, str] | None = None, limit: int | None = None
) -> str:
    """Return the template of the statement that deletes and inserts jobs, the oldest publication first.

    The DELETE's rows feed the INSERT. So each row is gone, for this transaction, before its key is inserted again, and
    the key does not conflict. Rows that another transaction holds are left to that transaction.

    Args:
        condition: selects jobs by the alias `q`. With `q.published_at < %(before)s` a repeated statement does not find
            the rows that it has inserted.
        changes: more columns with a new value, as expressions over `q`.
        limit: largest number of rows. If the plan does not know the limit, it sorts the whole table and uses no index.
            None: the statement's parameter `limit`.

    Returns:
        A template for `QueueStatements.statement`; the statement's row count is the number of jobs republished.
    """
    changed = {**_CHANGED, **(changes or {})}
    names = column_names(BASE_TABLE)
    return _STATEMENT.format(
        condition=condition,
        limit="%(limit)s" if limit is None else limit,
        columns=", ".join(names),
        values=", ".join(changed.get(name, f"q.{name}") for name in names),
    )


def published_before_statement(table: str) -> bytes:
    """Return the statement that republishes unclaimed jobs that were published before a given time.

    Its parameters are `before` (the time) and `limit` (rows).
    """
    return republish_template("q.published_at < %(before)s AND " + UNCLAIMED).format(table=table).encode()


def has_published_before_statement(table: str) -> bytes:
    """Return the query whether there are unclaimed jobs that were published before a given time (`before`)."""
    return f"SELECT EXISTS (SELECT FROM {table} AS q WHERE q.published_at < %(before)s AND {UNCLAIMED})".encode()
