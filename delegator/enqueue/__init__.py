"""The delegator's side of a Temporal worker: enqueue jobs, and wait inline for fast ones."""
