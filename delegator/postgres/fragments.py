"""Pieces of SQL that several statements share, each under one name.

They are written for a queue's table under the alias `q`. A statement names them as `{lease_is_live}` and so on; see
`QueueStatements.statement`.
"""

from __future__ import annotations

from typing import Final

from delegator_schema.columns import LEASE_TABLE

OUTCOME_CHANNEL: Final = "delegator_outcomes_"
"""Prefix of the channel on which an enqueuer hears that outcomes wait for it; the id of its lease follows."""
MAINTENANCE_CHANNEL: Final = "delegator_maintenance"
"""The channel on which the sweeper hears that something is due sooner than it knew."""
OUTCOME_STORED: Final = "outcome"
"""Payload of a notification on `MAINTENANCE_CHANNEL`: an outcome waits to be signalled."""

LEASE_IS_LIVE: Final = (
    f"EXISTS (SELECT FROM {LEASE_TABLE} AS lease WHERE lease.lease_id = q.lease_id AND lease.expires_at > now())"
)
"""A process holds the row."""

OWN_LEASE_IS_LIVE: Final = (
    f"EXISTS (SELECT FROM {LEASE_TABLE} AS own WHERE own.lease_id = %(lease_id)s AND own.expires_at > now())"
)
"""The lease of the process that runs the statement has not expired."""

# A row that had to be waited for is read as it is now, but leases as they were when the statement began. So a lease
# that the statement does not see may be younger than the statement. Then the claim that named the lease is younger,
# too, and the fencing token, which is the id of that claim's transaction, is not visible.
HOLDER_IS_GONE: Final = (
    f"NOT {LEASE_IS_LIVE} AND pg_visible_in_snapshot(q.fencing_token::text::xid8, pg_current_snapshot())"
)
"""The row names a lease, and no live process holds it."""

NEXT_FENCING_TOKEN: Final = "greatest(q.fencing_token + 1, pg_current_xact_id()::text::int8)"
"""A token that is greater than the row's, and no less than the id of the transaction that sets it."""

STORE_OUTCOME: Final = "completed_at = now(), lease_id = NULL, retry_at = NULL"
"""What changes in a row when its outcome is stored, beside `outcome` and `result`."""

HELD: Final = "unnest(%(job_id)b::text[], %(fencing_token)b::int8[]) AS held (job_id, fencing_token)"
"""The rows that a process means, each with the token under which it holds them."""

IS_HELD: Final = "q.job_id = held.job_id AND q.fencing_token = held.fencing_token"
"""Joins `q` with `HELD`: the row is still held under that token."""

BY_NAME: Final = {
    "channel": OUTCOME_CHANNEL,
    "maintenance": MAINTENANCE_CHANNEL,
    "outcome_stored": OUTCOME_STORED,
    "lease_is_live": LEASE_IS_LIVE,
    "own_lease_is_live": OWN_LEASE_IS_LIVE,
    "holder_is_gone": HOLDER_IS_GONE,
    "next_fencing_token": NEXT_FENCING_TOKEN,
    "store_outcome": STORE_OUTCOME,
    "held": HELD,
    "is_held": IS_HELD,
}
"""The fragments, under the names by which statements ask for them."""
