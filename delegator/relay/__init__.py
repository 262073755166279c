"""The embedded relay: Sequin's pull API over PostgreSQL's logical replication, in one process."""

from delegator.relay.embed import RelayHandle, running_relay
from delegator.relay.options import RelayOptions

__all__ = ["RelayHandle", "RelayOptions", "running_relay"]
