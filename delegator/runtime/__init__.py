"""What every process of the engine has: logs, health, liveness, start, shutdown, backoff, batching."""
