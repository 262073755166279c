"""Delegate Temporal activities to a pool of light workers, through PostgreSQL's write-ahead log."""

from temporalio.workflow import unsafe

if unsafe.in_sandbox():
    raise ImportError(
        "delegator is imported anew inside the workflow sandbox: give the worker (or its client, or the replayer) "
        "plugins=[DelegatorPlugin(...)]"
    )

from delegator.config import Settings
from delegator.context import JobContext, current_job, heartbeat
from delegator.contracts import JobOptions, contract, delegated, implements
from delegator.plugin import DelegatorPlugin, PluginOptions
from delegator.runtime.memory import collect_rarely
from delegator.workflow.api import delegate, delegate_map, delegate_starmap

__all__ = [
    "DelegatorPlugin",
    "JobContext",
    "JobOptions",
    "PluginOptions",
    "Settings",
    "collect_rarely",
    "contract",
    "current_job",
    "delegate",
    "delegate_map",
    "delegate_starmap",
    "delegated",
    "heartbeat",
    "implements",
]
