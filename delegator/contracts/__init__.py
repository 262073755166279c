"""Delegated activity types: one declaration serves the workflow (typed call) and the worker (handler)."""

from delegator.contracts.collect import (
    Declaration,
    Declared,
    Source,
    collect,
    collect_handlers,
    collect_types,
    existing_activities,
)
from delegator.contracts.declare import contract, delegated, implements
from delegator.contracts.fleet_limits import FleetLimits
from delegator.contracts.options import (
    DEFAULT_OPTIONS,
    CallOptions,
    JobOptions,
    TypeOptions,
    merged_priority,
    retry_key,
)
from delegator.contracts.resources import Resource, opened_resources, resource
from delegator.contracts.types import DYNAMIC_TYPE, Delegated, DelegatedType, Handler, delegated_type, signature_types

__all__ = [
    "DEFAULT_OPTIONS",
    "DYNAMIC_TYPE",
    "CallOptions",
    "Declaration",
    "Declared",
    "Delegated",
    "DelegatedType",
    "FleetLimits",
    "Handler",
    "JobOptions",
    "Resource",
    "Source",
    "TypeOptions",
    "collect",
    "collect_handlers",
    "collect_types",
    "contract",
    "delegated",
    "delegated_type",
    "existing_activities",
    "implements",
    "merged_priority",
    "opened_resources",
    "resource",
    "retry_key",
    "signature_types",
]
