"""Settlements of taxi trips: a saga over a double-entry ledger, thousands at once; a refund is another saga."""
