"""Brings a database to the declared state, and reports differences.

`migrate` applies the migrations (through the Atlas CLI where there is one), creates the additional queues and ends with
the drift check; `inspect` does the same without changing anything; `check` is the cheap form of it that every other
process runs when it starts.
"""

from delegator.migrate.drift import Finding
from delegator.migrate.runner import MigrationReport, describe, inspect, migrate
from delegator.postgres.schema_check import check

__all__ = ["Finding", "MigrationReport", "check", "describe", "inspect", "migrate"]
