"""The embedded stack: everything the engine needs, on one machine, from PyPI wheels."""

from delegator.dev.stack import RunningStack, StackOptions, TemporalKind, embedded_stack

__all__ = ["RunningStack", "StackOptions", "TemporalKind", "embedded_stack"]
