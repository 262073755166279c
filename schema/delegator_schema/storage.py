"""Per-table storage settings: what keeps the claim's and the renewal's updates heap-only and the tables small."""

from dataclasses import dataclass

from delegator_schema.queues import BASE_TABLE


@dataclass(frozen=True)
class Storage:
    """The storage parameters of a table."""

    parameters: tuple[tuple[str, str], ...]
    """Name and value, as `pg_class.reloptions` shows them, in alphabetical order."""


QUEUE_STORAGE = Storage(
    (
        # A queue's rows live for milliseconds. Half of the table dead is its normal state; vacuum must not wait for
        # the default fifth of a backlog that is gone already, nor pause between pages.
        ("autovacuum_analyze_scale_factor", "0.1"),
        ("autovacuum_vacuum_cost_delay", "0"),
        ("autovacuum_vacuum_scale_factor", "0.02"),
        ("autovacuum_vacuum_threshold", "500"),
        # Room on every page for the second version of each row: claim and inline completion stay heap-only updates.
        ("fillfactor", "50"),
        # Giving the tail of the file back takes an ACCESS EXCLUSIVE lock; a queue fills it again at once.
        ("vacuum_truncate", "false"),
    )
)
LEASE_STORAGE = Storage(
    (
        # One small row per process, renewed every few seconds.
        ("autovacuum_vacuum_scale_factor", "0.02"),
        ("fillfactor", "50"),
    )
)


def storage_of(table: str) -> Storage:
    """Return the storage settings declared for `table`; empty for a table that needs none."""
    if table == BASE_TABLE or table.startswith(f"{BASE_TABLE}_"):
        return QUEUE_STORAGE
    return LEASE_STORAGE if table == "custom_task_lease" else Storage(())
