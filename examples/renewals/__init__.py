"""Subscriptions that are reminded, renewed and revoked: polling and waiting for months."""
