"""The part of the engine that runs in workflow code. It is deterministic, does no I/O, and works in the sandbox."""
