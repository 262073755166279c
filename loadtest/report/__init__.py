"""The report: a page with charts and tables."""
