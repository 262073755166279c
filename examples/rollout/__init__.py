"""A migration of many databases: a canary, a person who says go, batches, and back again at the first failure."""
