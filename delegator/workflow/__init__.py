"""The side of the engine that runs inside workflows: deterministic, free of I/O, sandbox-safe."""
