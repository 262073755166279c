"""The accounts and their ledger."""
