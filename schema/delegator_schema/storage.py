"""Storage settings of each table. They keep the updates of claims and renewals heap-only, and the tables small."""

from dataclasses import dataclass

from delegator_schema.columns import LEASE_TABLE, OUTBOX_TABLE
from delegator_schema.queues import BASE_TABLE


@dataclass(frozen=True)
class Storage:
    """The storage parameters of a table."""

    parameters: tuple[tuple[str, str], ...]
    """Name and value, as `pg_class.reloptions` shows them, in alphabetical order."""


QUEUE_STORAGE = Storage(
    (
        # A queue's rows live for milliseconds, so half of the table's rows are usually dead. Vacuum must not wait until
        # a fifth of a past backlog is dead (the default), nor pause between pages.
        ("autovacuum_analyze_scale_factor", "0.1"),
        ("autovacuum_vacuum_cost_delay", "0"),
        ("autovacuum_vacuum_scale_factor", "0.02"),
        ("autovacuum_vacuum_threshold", "500"),
        # Every page has room for a second version of each row. So claims and inline completions are heap-only updates.
        ("fillfactor", "50"),
        # Truncating the file takes an ACCESS EXCLUSIVE lock, and a queue fills the space again at once.
        ("vacuum_truncate", "false"),
    )
)
OUTBOX_STORAGE = Storage(
    (
        # As in a queue's table, nearly all rows are usually dead. Few rows are updated.
        ("autovacuum_analyze_scale_factor", "0.1"),
        ("autovacuum_vacuum_cost_delay", "0"),
        ("autovacuum_vacuum_scale_factor", "0.02"),
        ("autovacuum_vacuum_threshold", "500"),
        ("vacuum_truncate", "false"),
    )
)
LEASE_STORAGE = Storage(
    (
        # Each process has one small row and renews it every few seconds.
        ("autovacuum_vacuum_scale_factor", "0.02"),
        ("fillfactor", "50"),
    )
)


def storage_of(table: str) -> Storage:
    """Return the storage settings of `table`. They may be empty."""
    if table == BASE_TABLE or table.startswith(f"{BASE_TABLE}_"):
        return QUEUE_STORAGE
    if table == OUTBOX_TABLE:
        return OUTBOX_STORAGE
    return LEASE_STORAGE if table == LEASE_TABLE else Storage(())
