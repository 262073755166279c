"""The embedded relay: Sequin's pull API over PostgreSQL's logical replication, in one process."""

from delegator.relay.options import RelayOptions
from delegator.relay.service import RelayHandle, running_relay

__all__ = ["RelayHandle", "RelayOptions", "running_relay"]
