"""The load test: the same work done in several ways, measured and compared."""
