"""All SQL of the hot path: one module a table."""
