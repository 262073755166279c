"""A payment orchestrator in four services (account, gateway, fraud, notification): a saga that never loses money."""
