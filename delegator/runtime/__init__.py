"""Health and metrics of every process of the engine: `/livez`, `/readyz`, `/metrics`."""
