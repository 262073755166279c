"""The application's own `loadtest`."""

TASK_QUEUE = "shop"
