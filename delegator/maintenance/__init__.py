"""Maintenance: republishes lost jobs, starts due retries, times out overdue jobs, signals undelivered outcomes."""
