"""Tells the others which types the workers of this gateway run: in its lease, for pools, views and the doctor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from delegator.gateway.dispatch import Dispatcher
from delegator.postgres import leases
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.postgres.shares import Lender

_LOOK_SECONDS: Final = 0.5


class ServedTypes:
    """Writes the polled types of a queue into the gateway's lease when they change."""

    def __init__(
        self,
        pool: Lender,
        keeper: LeaseKeeper,
        dispatcher: Dispatcher,
        offer_refused: Callable[[Sequence[str]], Awaitable[None]],
        database: DatabaseWatch,
    ) -> None:
        """Prepare.

        Args:
            pool: connections.
            keeper: the gateway's lease.
            dispatcher: knows the polled types.
            offer_refused: has jobs of types offered again at once that others have refused.
            database: gets each success and each error.
        """
        self._pool = pool
        self._keeper = keeper
        self._dispatcher = dispatcher
        self._offer_refused = offer_refused
        self._database = database
        self._written: tuple[int, list[str]] = (0, [])

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            wanted = (self._keeper.lease_id, self._dispatcher.types)
            if wanted == self._written:
                continue
            try:
                async with self._pool.connection() as connection:
                    await leases.name_types(connection, *wanted)
                new = sorted(set(wanted[1]) - set(self._written[1]))
                if new:
                    await self._offer_refused(new)
            except Exception as error:
                await self._database.failed(error)
            else:
                self._written = wanted
                self._database.works()
