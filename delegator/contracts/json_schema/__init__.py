"""JSON Schemas of delegated activity types, from their annotations: what workers in other languages get and return."""

from delegator.contracts.json_schema.describe import Described, TypeSchema, describe_types

__all__ = ["Described", "TypeSchema", "describe_types"]
