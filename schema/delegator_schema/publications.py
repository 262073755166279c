"""The publications that stream new rows, one for each queue, and the replica identity of the tables in them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Publication:
    """What leaves the database through logical decoding."""

    name: str
    """Name of the default queue's publication, from which those of the others are derived (`queue_publication`);
    `DELEGATOR_PUBLICATION` may ask for another."""
    publish: tuple[str, ...]
    """Operations published, of insert, update, delete and truncate."""
    columns: tuple[str, ...] = ("job_id", "fencing_token")
    """Columns of a queue's table that are published, of every new row: which job there is, and which insert of it is
    meant. A worker reads the rest from the row, which is the truth, when it claims it. So payloads never leave the
    database through the stream: decoding, the stream's store and HTTP carry two short values whatever a job's size,
    and no message ever comes near the 5,000,000 bytes above which Sequin drops it."""


PUBLICATION = Publication("delegator_publication", ("insert",))
"""Only an INSERT is news. Claims, renewals, completions and deletes are most of the WAL; not publishing them
keeps the stream to one message for each INSERT."""

REPLICA_IDENTITY = "DEFAULT"
"""The primary key. Updates and deletes are not published, so no consumer ever needs the old row: FULL would write it,
payload included, into the WAL with each claim and each completion. NOTHING would save the key, but would make every
UPDATE fail for whoever adds the table to a publication of their own that publishes updates."""

REPLICA_IDENTITY_CODE = "d"
"""`REPLICA_IDENTITY` as `pg_class.relreplident` shows it."""
