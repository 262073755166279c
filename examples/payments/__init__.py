"""A payment orchestrator in four services: account, gateway, fraud and notification, with a saga that never loses money."""
