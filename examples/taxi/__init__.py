"""Settlements of taxi trips: a saga over a double-entry ledger, many at once; a refund is another saga."""
