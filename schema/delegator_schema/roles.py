"""The group roles of the engine's processes. A deployment grants them to its login roles.

    CREATE ROLE my_service LOGIN PASSWORD '...' IN ROLE delegator_app;
    CREATE ROLE my_shop LOGIN PASSWORD '...' IN ROLE delegator_enqueue;
    CREATE ROLE sequin LOGIN REPLICATION PASSWORD '...' IN ROLE delegator_stream;

REPLICATION is an attribute. Members of a group do not inherit attributes, so the stream's login role must have it
itself.
"""

from dataclasses import dataclass, field

from delegator_schema.columns import OUTBOX_TABLE, UNIQUE_TABLE
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
    table_privileges: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Privileges on single tables, instead of these."""

    def privileges(self, table: str) -> tuple[str, ...]:
        """Return the privileges declared on `table`."""
        if table in self.table_privileges:
            return self.table_privileges[table]
        is_queue = table == BASE_TABLE or table.startswith(f"{BASE_TABLE}_")
        return self.queue_privileges if is_queue else self.state_privileges


APP = Role("delegator_app", ("SELECT", "INSERT", "UPDATE", "DELETE"), ("SELECT", "INSERT", "UPDATE", "DELETE"))
"""For the processes that enqueue, run jobs and maintain the queues. It may do what `ENQUEUE` may, too."""

STREAM = Role("delegator_stream", ("SELECT",), ())
"""For Sequin or the relay. It may read queue tables, for a backfill. All else comes through the slot."""

ENQUEUE = Role(
    "delegator_enqueue",
    ("SELECT", "INSERT"),
    (),
    {OUTBOX_TABLE: ("SELECT", "INSERT"), UNIQUE_TABLE: ("SELECT", "INSERT", "UPDATE")},
)
"""For applications that use the outbox. It may add jobs and operations, and read its own and others'."""

ROLES = (APP, STREAM, ENQUEUE)
"""Every declared role."""
