"""The group roles of the engine's processes. A deployment grants them to its login roles.

    CREATE ROLE my_workers LOGIN PASSWORD '...' IN ROLE delegator_worker;
    CREATE ROLE my_shop LOGIN PASSWORD '...' IN ROLE delegator_enqueue;
    CREATE ROLE sequin LOGIN REPLICATION PASSWORD '...' IN ROLE delegator_stream;

REPLICATION is an attribute. Members of a group do not inherit attributes, so the stream's login role must have it
itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from delegator_schema.columns import (
    DEAD_LETTER_TABLE,
    LEASE_TABLE,
    OUTBOX_TABLE,
    PAUSE_TABLE,
    RATE_TABLE,
    UNIQUE_TABLE,
)
from delegator_schema.queues import BASE_TABLE


@dataclass(frozen=True)
class Role:
    """A NOLOGIN group role and what it may do."""

    name: str
    """Name of the role. Roles belong to the whole cluster, not to one database."""
    queue_privileges: tuple[str, ...]
    """Privileges on every queue's table."""
    state_privileges: tuple[str, ...]
    """Privileges on the tables that are not queues: leases, dead letters, pauses and rates."""
    table_privileges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Privileges on single tables, instead of these."""

    def privileges(self, table: str) -> tuple[str, ...]:
        """Return the privileges declared on `table`."""
        if table in self.table_privileges:
            return self.table_privileges[table]
        is_queue = table == BASE_TABLE or table.startswith(f"{BASE_TABLE}_")
        return self.queue_privileges if is_queue else self.state_privileges


ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")

APP = Role("delegator_app", ALL, ALL)
"""For every process but the stream, where one role for all of them is enough."""

# Whoever moves a row's publication forward deletes it and inserts it again. So all three write to the queues.
ENQUEUER = Role(
    "delegator_enqueuer",
    ALL,
    (),
    {LEASE_TABLE: ("SELECT", "INSERT", "UPDATE"), PAUSE_TABLE: ("SELECT",), DEAD_LETTER_TABLE: ("INSERT",)},
)
"""For Temporal workers with the plugin, and for clients that complete jobs. A plain job that such a client fails
becomes a dead letter."""

WORKER = Role(
    "delegator_worker",
    ALL,
    (),
    {
        LEASE_TABLE: ("SELECT", "INSERT", "UPDATE", "DELETE"),
        PAUSE_TABLE: ("SELECT",),
        DEAD_LETTER_TABLE: ("INSERT",),
        RATE_TABLE: ("SELECT", "INSERT", "UPDATE"),
    },
)
"""For `http-worker`."""

MAINTENANCE = Role("delegator_maintenance", ALL, ALL, {RATE_TABLE: ("SELECT", "DELETE")})
"""For `delegator serve`, and for operators: it reads and changes dead letters and pauses."""

STREAM = Role("delegator_stream", ("SELECT",), ())
"""For Sequin or the relay. It may read queue tables, for a backfill. All else comes through the slot."""

ENQUEUE = Role(
    "delegator_enqueue",
    ("SELECT", "INSERT"),
    (),
    {OUTBOX_TABLE: ("SELECT", "INSERT"), UNIQUE_TABLE: ("SELECT", "INSERT", "UPDATE")},
)
"""For applications that use the outbox. It may add jobs and operations, and read its own and others'."""

ROLES = (APP, ENQUEUER, WORKER, MAINTENANCE, STREAM, ENQUEUE)
"""Every declared role."""
