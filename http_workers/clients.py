"""Temporal's client of a worker, which may be replaced while the worker runs."""

from __future__ import annotations

from collections.abc import Callable

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime

from delegator.runtime.temporal_client import connect_temporal


class ClientHolder:
    """Holds the client, and tells its users of another one."""

    def __init__(self, client: Client | None, runtime: Runtime | None = None) -> None:
        """Begin with a client, or with none.

        Args:
            client: the client; None: one is connected when it is wanted.
            runtime: the SDK's runtime of that one; None: the default.
        """
        self._client = client
        self._runtime = runtime
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

    def add_users(self, *uses: Callable[[Client], None]) -> None:
        """Call functions with every other client that is set later."""
        self._users += uses

    async def connected(self, converter: DataConverter, identity: str) -> Client:
        """Return the client. If there is none, connect the one that Temporal's settings describe.

        Args:
            converter: its data converter.
            identity: shown in history.

        Raises:
            ConfigurationError: Temporal's settings are wrong.
        """
        if self._client is None:
            self._client = await connect_temporal(converter, identity=identity, runtime=self._runtime)
        return self._client
