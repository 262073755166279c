"""What a relay needs to know."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final, Self

from delegator_schema.queues import DEFAULT_QUEUE, queue_publication, queue_slot, queue_table

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.postgres.connections import DatabaseAddress
from delegator.runtime.server_tls import TlsFiles, refuse_open

_SLOT_NAME: Final = re.compile(r"[a-z0-9_]{1,63}")
_MAY_BE_ZERO: Final = frozenset({"port", "start_timeout"})


@dataclass(frozen=True)
class Feed:
    """What one queue is streamed from and through; queues share none of it."""

    table: str
    """Its table, whose name is also the stream's."""
    publication: str
    """Publication that streams its inserts."""
    slot: str
    """Logical replication slot, created when missing."""


@dataclass(frozen=True)
class RelayOptions:
    """Options of one relay; sizes in bytes, times in seconds.

    The relay as a whole buffers at most `max_messages` and `max_bytes`. Each queue has an equal share of both. So a
    queue that nobody consumes fills its own share and stalls its own slot, and the others go on.
    """

    database_url: str | DatabaseAddress = field(repr=False)
    """libpq connection string or URL of the database that holds the queue tables, or both of its addresses."""
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    """Queues to serve; each stream has the name of its queue's table."""
    publication: str = "delegator_publication"
    """Publication of the default queue; another queue's is `<publication>_<queue>`."""
    slot: str = "delegator_slot"
    """Slot of the default queue, created when missing; another queue's is `<slot>_<queue>`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 7376
    """Port to listen on; 0 takes a free one."""
    token: str | None = field(default=None, repr=False)
    """Bearer token that requests must carry; None: no check, unless there is a file."""
    token_file: Path | None = None
    """File of bearer tokens, of which requests must carry one. It is read again when it has changed."""
    tls: TlsFiles | None = None
    """Its certificate; None: it serves plain HTTP."""
    visibility_timeout: float = 30.0
    """How long a delivered message stays hidden without an ack."""
    max_messages: int = 50_000
    """Messages to buffer, of all queues together; the relay stops reading a queue whose equal share is used up."""
    max_bytes: int = 64 * 1024 * 1024
    """Bytes to buffer, of all queues together; the relay stops reading a queue whose equal share is used up."""
    low_water: float = 0.75
    """Part of a queue's share of both limits at which reading goes on."""
    like_sequin: bool = False
    """Do not notice that a request's sender is gone, as Sequin does not: what is sent to it stays hidden for
    `visibility_timeout`. For tests of workers."""
    status_interval: float = 1.0
    """How often the acknowledged position is reported to PostgreSQL."""
    silence_timeout: float = 10.0
    """A server that does not answer for this long is taken for dead."""
    connect_timeout: float = 5.0
    """Limit for establishing one connection."""
    start_timeout: float = 20.0
    """How long a relay that starts waits for a PostgreSQL that can't be reached, before it gives up."""
    backoff_cap: float = 5.0
    """Longest pause between two attempts to connect."""
    lock_interval: float = 1.0
    """How often a standby tries to take the locks, and how often the relay that streams looks at its slots."""
    lock_timeout: float = 10.0
    """A relay that says nothing to PostgreSQL for this long loses the locks to a standby."""
    inspect_interval: float = 10.0
    """How often the relay looks whether the table and its publication still exist while it streams."""
    republish_batch: int = 5_000
    """Rows republished in one statement after the slot was lost."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if (
                item.name not in _MAY_BE_ZERO
                and isinstance(value, int | float)
                and not isinstance(value, bool)
                and value <= 0
            ):
                raise ConfigurationError(f"relay option {item.name}: {value} is not greater than 0")
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"--port: {self.port} is not a port (0..65535)")
        refuse_open(
            self.host,
            has_token=self.token is not None or self.token_file is not None,
            server="the relay",
            cure="give DELEGATOR_STREAM_TOKEN or --token-file",
        )
        if self.low_water > 1:
            raise ConfigurationError(f"relay option low_water: {self.low_water} is not a share (0..1)")
        for feed in self.feeds:
            if _SLOT_NAME.fullmatch(feed.slot) is None:
                raise ConfigurationError(f"DELEGATOR_SLOT: {feed.slot!r} is not a slot name (a-z, 0-9, _; at most 63)")

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """What each queue is streamed through, in the order of the queues."""
        return tuple(
            Feed(queue_table(queue), queue_publication(queue, self.publication), queue_slot(queue, self.slot))
            for queue in dict.fromkeys(self.queues)
        )

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        port: int = 7376,
        token_file: Path | None = None,
        tls: TlsFiles | None = None,
    ) -> Self:
        """Take what the engine's settings say, and the defaults for the rest.

        Args:
            settings: of the engine.
            host: address to listen on.
            port: port to listen on; 0 takes a free one.
            token_file: file of bearer tokens, instead of the token of the settings.
            tls: its certificate; None: it serves plain HTTP.

        Raises:
            ConfigurationError: an option is wrong, or the relay would be open to the network without a token.
        """
        token = settings.stream_token if token_file is None else None
        return cls(
            database_url=_without_pooler(DatabaseAddress.of(settings)),
            queues=settings.queues,
            publication=settings.publication,
            slot=settings.slot,
            host=host,
            port=port,
            token=token.get_secret_value() if token is not None else None,
            token_file=token_file,
            tls=tls,
            start_timeout=settings.start_timeout.total_seconds(),
            silence_timeout=min(cls.silence_timeout, settings.lease.total_seconds()),
            # A message that a dead worker received and did not claim comes again as soon as one that it claimed.
            visibility_timeout=min(cls.visibility_timeout, settings.lease.total_seconds()),
        )


def _without_pooler(address: DatabaseAddress) -> DatabaseAddress:
    """Return an address for a process that streams. It has few connections, and needs sessions of its own."""
    return replace(address, url=address.direct_url or address.url)
