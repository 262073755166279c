"""The maintenance process's view of the database, for tests of its parts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from delegator.config import Settings
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.schema_check import check
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState, SharedConnection


def database_watch(settings: Settings) -> DatabaseWatch:
    """Make a watch with a connection state of its own."""
    state = ConnectionState("postgresql", ConnectionMetrics(CollectorRegistry()))
    return DatabaseWatch(SharedConnection(state).part("test"), lambda: check(settings))
