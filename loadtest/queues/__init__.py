"""Run a queue on its own, without workflows."""
