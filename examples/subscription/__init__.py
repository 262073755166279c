"""A subscription that lives for a month: signals, a query, an update, and a delegated job inside their handlers."""
