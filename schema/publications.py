"""The publication that streams new rows, and the replica identity of the tables in it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Publication:
    """What leaves the database through logical decoding."""

    name: str
    """Name of the publication; `DELEGATOR_PUBLICATION` may ask for another."""
    publish: tuple[str, ...]
    """Operations published, of insert, update, delete and truncate."""


PUBLICATION = Publication("delegator_publication", ("insert",))
"""Only the birth of a row is news. Claims, renewals, completions and deletes are most of the WAL; not publishing them
keeps the stream to one message per emission."""

REPLICA_IDENTITY = "DEFAULT"
"""The primary key. Updates and deletes are not published, so no consumer ever needs the old row: FULL would write it,
payload included, into the WAL with each claim and each completion. NOTHING would save the key, but would make every
UPDATE fail for whoever adds the table to a publication of their own that publishes updates."""

REPLICA_IDENTITY_CODE = "d"
"""`REPLICA_IDENTITY` as `pg_class.relreplident` shows it."""
