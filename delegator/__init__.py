"""Delegate Temporal activities to a pool of light workers, through PostgreSQL's write-ahead log."""

from delegator.contracts import JobOptions, contract, delegated, implements
from delegator.workflow.api import delegate, delegate_map, delegate_starmap

__all__ = ["JobOptions", "contract", "delegate", "delegate_map", "delegate_starmap", "delegated", "implements"]
