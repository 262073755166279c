"""The publications that stream new rows, one for each queue, and the replica identity of the tables in them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Publication:
    """The rows, operations and columns that logical decoding sends."""

    name: str
    """Name of the default queue's publication. `queue_publication` derives the others from it. `DELEGATOR_PUBLICATION`
    may set another name."""
    publish: tuple[str, ...]
    """Operations published, of insert, update, delete and truncate."""
    columns: tuple[str, ...] = ("job_id", "fencing_token")
    """The published columns of a queue's table. They name the job, and which of its inserts is meant. A worker reads
    the rest from the row when it claims it. So payloads never leave the database through the stream. A message holds
    two short values, whatever the size of the job. Sequin drops messages of more than 5,000,000 bytes."""


PUBLICATION = Publication("delegator_publication", ("insert",))
"""Only inserts are published, so the stream has one message for each INSERT. Claims, renewals, completions and deletes
are most of the WAL, and no consumer needs them."""

REPLICA_IDENTITY = "DEFAULT"
"""The primary key. Updates and deletes are not published, so no consumer needs the old row. FULL would write it, with
its payload, to the WAL at each claim and each completion. With NOTHING every UPDATE would fail as soon as a user adds
the table to another publication that publishes updates."""

REPLICA_IDENTITY_CODE = "d"
"""`REPLICA_IDENTITY` as `pg_class.relreplident` shows it."""
