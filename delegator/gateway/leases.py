"""The leases of jobs that HTTP workers run.

A worker is silent between two requests, and the next one may come to another gateway. So no process can renew a lease
for it. Each lease here has a fixed end. All jobs whose workers may be silent until about then share it, and a sign of
life moves a job to a lease that ends later. What is not moved is lost when its lease ends, whichever gateway is alive:
also a job whose worker never got the reply that named it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from delegator.postgres import leases
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.lease_keeper import LeaseKeeper, holder_name
from delegator.postgres.queue_gateway import GatewayStatements
from delegator.postgres.shares import Lender

_SHARES: Final = 8
"""A lease may end later than asked for, by this part of the time."""
_LEAST_SHARE_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 0.5
_EARLY_SECONDS: Final = 1.5
"""How long before its end a lease is looked at that may hold nothing any more."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Term:
    """A lease with a fixed end."""

    lease_id: int
    """The lease."""
    ends_at: float
    """Monotonic time of its end, or a little earlier."""
    jobs: dict[str, int] = field(default_factory=dict)
    """Fencing tokens of the jobs that this gateway has put under it and that have not ended here, by job id."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that this gateway has claimed."""

    fencing_token: int
    """Its token."""


class TermLeases:
    """Grants leases with a fixed end, and knows the jobs under each.

    It is also what a receiver claims with: `lease_id` holds a job until a worker has got it.
    """

    def __init__(
        self,
        *,
        pool: Lender,
        statements: GatewayStatements,
        keeper: LeaseKeeper,
        database: DatabaseWatch,
        claim_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        """Prepare.

        Args:
            pool: connections.
            statements: of the queue.
            keeper: the lease of the gateway itself. It says that the gateway serves the queue, and knows its pauses.
            database: gets each success and each error.
            claim_seconds: how long a claimed job is held without a sign of life.
            clock: monotonic, in seconds.
        """
        self._pool = pool
        self._statements = statements
        self._keeper = keeper
        self._database = database
        self._claim_seconds = claim_seconds
        self._clock = clock
        self._terms: dict[int, Term] = {}
        self._granting = asyncio.Lock()
        self._claims: Term | None = None
        self._claims_before: Term | None = None
        self.held: dict[str, Held] = {}
        """The jobs under these leases that have not ended here."""

    @property
    def lease_id(self) -> int:
        """The lease under which the next claim puts its jobs; 0, which is none, until there is one."""
        return 0 if self._claims is None else self._claims.lease_id

    @property
    def has_pauses(self) -> bool:
        """See `LeaseKeeper`."""
        return self._keeper.has_pauses

    def note_delivery_watermark(self) -> None:
        """See `LeaseKeeper`."""
        self._keeper.note_delivery_watermark()

    async def renew(self) -> None:
        """Get another lease for claims.

        Raises:
            psycopg.Error: the database does not grant one.
        """
        await self._change_claims()

    async def _change_claims(self) -> None:
        term = await self._grant(self._claim_seconds + self._share(self._claim_seconds))
        self._claims, self._claims_before = term, self._claims

    async def term(self, seconds: float) -> Term:
        """Return a lease that lives for this time, and perhaps a little longer.

        Raises:
            psycopg.Error: the database does not grant one.
        """
        found = self._find(seconds)
        if found is not None:
            return found
        async with self._granting:
            found = self._find(seconds)
            if found is None:
                found = await self._grant(seconds + self._share(seconds))
            return found

    @staticmethod
    def _share(seconds: float) -> float:
        return max(seconds / _SHARES, _LEAST_SHARE_SECONDS)

    def _find(self, seconds: float) -> Term | None:
        least = self._clock() + seconds
        most = least + self._share(seconds)
        fitting = [term for term in self._terms.values() if least <= term.ends_at <= most]
        return max(fitting, key=lambda term: term.ends_at, default=None)

    async def _grant(self, seconds: float) -> Term:
        began = self._clock()
        async with self._pool.connection() as connection:
            lease_id = await leases.grant(
                connection, "worker", f"gateway {holder_name()}", None, timedelta(seconds=seconds)
            )
        term = Term(lease_id, began + seconds)
        self._terms[lease_id] = term
        return term

    def claimed(self, job_id: str, fencing_token: int) -> float:
        """Note that a job was claimed. Return how many seconds its lease has left at least."""
        self.held[job_id] = Held(fencing_token)
        left = [self._claim_seconds]
        # The claim may have begun before the lease for claims changed.
        for term in (self._claims, self._claims_before):
            if term is not None and term.lease_id in self._terms:
                term.jobs[job_id] = fencing_token
                left.append(term.ends_at - self._clock())
        return max(0.0, min(left))

    def moved(self, term: Term, job_id: str, fencing_token: int) -> None:
        """Note that a job was put under another lease."""
        self.held[job_id] = Held(fencing_token)
        term.jobs[job_id] = fencing_token

    def forget(self, job_id: str, fencing_token: int) -> None:
        """Note that a job's attempt has ended."""
        held = self.held.get(job_id)
        if held is not None and held.fencing_token == fencing_token:
            del self.held[job_id]

    async def run(self) -> None:
        """Renew the lease for claims, and end leases that hold nothing any more, until cancelled."""
        while True:
            try:
                await self._turn()
            except Exception as error:
                await self._database.failed(error)
            else:
                self._database.works()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _turn(self) -> None:
        now = self._clock()
        if self._claims is None or self._claims.ends_at < now + self._claim_seconds + 2 * _LOOK_SECONDS:
            await self._change_claims()
        ending = [term for term in self._terms.values() if term.ends_at < now + _EARLY_SECONDS]
        for term in ending:
            del self._terms[term.lease_id]
            await self._end(term)

    async def _end(self, term: Term) -> None:
        """Delete a lease that holds nothing. An expired one makes the sweeper read the queue's table for its jobs."""
        rest = [(job_id, token) for job_id, token in term.jobs.items() if self._is_held(self.held, job_id, token)]
        async with self._pool.connection() as connection:
            if not rest or not await self._statements.is_used(connection, term.lease_id, rest):
                await leases.delete(connection, [term.lease_id])
        for job_id, token in rest:
            if not any(one.jobs.get(job_id) == token for one in self._terms.values()):
                self.forget(job_id, token)

    @staticmethod
    def _is_held(held: Mapping[str, Held], job_id: str, token: int) -> bool:
        found = held.get(job_id)
        return found is not None and found.fencing_token == token
