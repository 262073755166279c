"""Temporal's client of a worker, which may be replaced while the worker runs."""

from __future__ import annotations

from collections.abc import Callable

from temporalio.client import Client


class ClientHolder:
    """Holds the client, and tells its users of another one."""

    def __init__(self, client: Client | None) -> None:
        """Begin with a client, or with none."""
        self._client = client
        self._users: list[Callable[[Client], None]] = []

    @property
    def client(self) -> Client | None:
        """The client; None: it is not connected yet."""
        return self._client

    @client.setter
    def client(self, client: Client) -> None:
        self._client = client
        for use in self._users:
            use(client)

    def add_user(self, use: Callable[[Client], None]) -> None:
        """Call a function with every other client that is set later."""
        self._users.append(use)
