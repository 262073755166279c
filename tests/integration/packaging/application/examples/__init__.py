"""The application's own `examples`."""

ORDER = 7
