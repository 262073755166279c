"""The outbox: a row is deleted by whatever program, and a workflow cleans up after it, if the deletion commits."""
