"""The embedded stack: everything the engine needs, on one machine, from PyPI wheels."""

from delegator.dev.stack import RunningStack, StackOptions, embedded_stack

__all__ = ["RunningStack", "StackOptions", "embedded_stack"]
