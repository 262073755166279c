"""Delegate Temporal activities to a pool of light workers, through PostgreSQL's write-ahead log."""

from temporalio.workflow import unsafe

if unsafe.in_sandbox():
    raise ImportError(
        "the workflow sandbox imports delegator again: give the worker (or its client, or the replayer) "
        "plugins=[DelegatorPlugin(...)]"
    )

from delegator import errors
from delegator.client import connect
from delegator.config import Settings
from delegator.context import JobContext, current_job, heartbeat
from delegator.contracts import FleetLimits, Resource, contract, delegated, existing_activities, implements, resource
from delegator.errors import ConfigurationError, DelegatorError, DependencyError
from delegator.plugin import DelegatorPlugin, PluginOptions
from delegator.runtime.logs import LogFormat, configure_logging
from delegator.runtime.memory import collect_rarely
from delegator.workflow.api import delegate
from delegator.workflow.map import delegate_map, delegate_starmap

__all__ = [
    "ConfigurationError",
    "DelegatorError",
    "DelegatorPlugin",
    "DependencyError",
    "FleetLimits",
    "JobContext",
    "LogFormat",
    "PluginOptions",
    "Resource",
    "Settings",
    "collect_rarely",
    "configure_logging",
    "connect",
    "contract",
    "current_job",
    "delegate",
    "delegate_map",
    "delegate_starmap",
    "delegated",
    "errors",
    "existing_activities",
    "heartbeat",
    "implements",
    "resource",
]

for _name in __all__:
    # Tracebacks, logs and help() then show public objects under the name that users import.
    if _name != "errors":
        globals()[_name].__module__ = __name__
del _name
