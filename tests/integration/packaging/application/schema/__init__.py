"""The application's own `schema`."""

CURRENCY = "EUR"
