"""Keeps the limits that all workers of a queue share.

The running rows are the permits. So a worker that dies frees its permits with its lease.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from delegator.contracts import FleetLimits, Handler
from delegator.postgres.connections import Connection
from delegator.postgres.queue_order import CATCH_UP, Lane, OrderStatements
from http_workers.fair_order import Room

_LOOK_AGAIN: Final = 0.1
"""Seconds until a worker looks whether jobs of other workers have made room."""
_LOCKED: Final = 0.01
"""Seconds until it looks again after another worker was at the same limit."""


class FleetGate:
    """Reads and keeps the fleet-wide limits of the types that have some."""

    def __init__(self, handlers: Mapping[str, Handler], order: OrderStatements) -> None:
        """Read the limits.

        Args:
            handlers: by delegated activity type.
            order: the statements of the queue.
        """
        self._order = order
        self._limits: dict[str, FleetLimits] = {
            name: limits
            for name, handler in handlers.items()
            if handler.type.queue == order.queue and (limits := handler.type.fleet_limits) is not None
        }

    @property
    def types(self) -> frozenset[str]:
        """The types with limits."""
        return frozenset(self._limits)

    async def room(self, connection: Connection, lanes: Sequence[Lane], look_again_in: float) -> tuple[Room, float]:
        """Lock the limits of the types that wait. Return what they allow, and in how many seconds they may allow more.

        Args:
            connection: in a transaction. The limits stay locked until it ends.
            lanes: the lines in which jobs wait.
            look_again_in: in how many seconds the caller looks again in any case.
        """
        room, waits = Room(), [look_again_in]
        waiting = {lane.job_type for lane in lanes if lane.job_type in self._limits}
        locked = await self._order.lock_limits(connection, waiting)
        for name in waiting - locked:
            room.by_type[name] = 0
            waits.append(_LOCKED)
        counted = {name for name in locked if self._counts(name)}
        if counted:
            waits.append(_LOOK_AGAIN)
        running = await self._order.running(connection, counted) if counted else {}
        totals = Counter[str]()
        for (name, _), count in running.items():
            totals[name] += count
        shares = {(lane.job_type, lane.fairness_key) for lane in lanes if lane.job_type in locked}
        limit_ids = {limit_id for name, key in shares for limit_id, _, _ in self._rates(name, key)}
        rates = await self._order.rates(connection, limit_ids) if limit_ids else {}
        for name, key in shares:
            limits = self._limits[name]
            if limits.max_concurrent is not None:
                room.limit_type(name, limits.max_concurrent - totals[name])
            if limits.max_concurrent_per_key is not None:
                room.limit_key(name, key, limits.max_concurrent_per_key - running.get((name, key), 0))
            for limit_id, interval, is_per_key in self._rates(name, key):
                starts, wait = starts_allowed(rates.get(limit_id), interval)
                waits.append(wait)
                if is_per_key:
                    room.limit_key(name, key, starts)
                else:
                    room.limit_type(name, starts)
        return room, min(waits)

    async def started(self, connection: Connection, jobs: Sequence[tuple[str, str]]) -> None:
        """Note in the rates what begins.

        Args:
            connection: in the transaction of `room`.
            jobs: the type and the fairness key of each job.
        """
        needed: dict[str, timedelta] = defaultdict(timedelta)
        for name, key in jobs:
            if name in self._limits:
                for limit_id, interval, _ in self._rates(name, key):
                    needed[limit_id] += timedelta(seconds=interval)
        if needed:
            await self._order.started(connection, needed)

    def _counts(self, name: str) -> bool:
        limits = self._limits[name]
        return limits.max_concurrent is not None or limits.max_concurrent_per_key is not None

    def _rates(self, name: str, key: str) -> list[tuple[str, float, bool]]:
        """Return a job's rates: the id of each, the seconds between two starts, and whether it is its key's own."""
        limits, rates = self._limits[name], []
        # The length comes first, so that no two limits have the same id.
        limit_id = f"{self._order.queue} {len(name)} {name}"
        if limits.max_per_second is not None:
            rates.append((limit_id, 1 / limits.max_per_second, False))
        if limits.max_per_second_per_key is not None:
            rates.append((f"{limit_id} {key}", 1 / limits.max_per_second_per_key, True))
        return rates


def starts_allowed(next_in: float | None, interval: float) -> tuple[int, float]:
    """Return how many starts a rate allows now, and the seconds until it allows more.

    Args:
        next_in: seconds until the next start; negative: since when it is allowed; None: nothing has started yet.
        interval: seconds between two starts.
    """
    most = CATCH_UP.total_seconds()
    late = most if next_in is None else min(-next_in, most)
    if late < 0:
        return 0, -late
    starts = math.floor(late / interval) + 1
    return starts, interval * starts - late
