"""One workflow, one delegated job; and an ordinary activity call that is delegated unchanged."""
