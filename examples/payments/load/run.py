"""Runs a scenario: asks for payments at their moments, follows each to its end, and lets the scenario disturb."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aiohttp
from temporalio.client import Client
from temporalio.service import RPCError

from examples.database import fetch_value
from examples.open_loop import Check, Measured, Seen, memory_mb, watch
from examples.payments.account.accounts import Account, open_accounts, total_balance
from examples.payments.books import Books
from examples.payments.client import ApiClient
from examples.payments.contracts import workflow_id
from examples.payments.reporting.data import queues
from examples.payments.system import System
from loadtest.runs.generator import at_moments

AMOUNT: Final = 100
"""Of each payment."""
_MONEY = "balances + captured = initial; one debit, capture and mail for each success; nothing for each failure"
_AGAIN_SECONDS = 0.5
_LOOKS = 20
_AT_ONCE = 8


class Run:
    """One run on a system."""

    def __init__(self, system: System, api: ApiClient, client: Client) -> None:
        self.system = system
        self.measured = Measured()
        self._api, self._client = api, client
        self._prefix = uuid.uuid4().hex[:6]
        self._begin = 0.0
        self._initial = 0
        self._users: list[str] = []

    @property
    def now(self) -> float:
        """Seconds since the begin."""
        return time.perf_counter() - self._begin

    async def open_accounts(self, balances: Sequence[int]) -> None:
        """Open an account for each balance."""
        accounts = [Account(f"load-{self._prefix}-{number}", balance) for number, balance in enumerate(balances)]
        await open_accounts(accounts)
        self._users = [account.user_id for account in accounts]
        self._initial = await total_balance()

    async def load(self, moments: Sequence[float]) -> None:
        """Ask for a payment at each moment, and follow all of them to their ends."""
        self._begin = time.perf_counter()
        watching = asyncio.create_task(watch(self.measured, self._sample))
        try:
            await at_moments(self._pay, moments)
        finally:
            watching.cancel()
        ids = [one.key for one in self.measured.seen]
        for some in (ids[begin : begin + _AT_ONCE] for begin in range(0, len(ids), _AT_ONCE)):
            states = await asyncio.gather(*map(self._api.done, some))
            self.measured.states |= dict(zip(some, states, strict=True))

    async def invariants(self) -> list[Check]:
        """Look into all books, and into the queues, until they are empty."""
        states = self.measured.states
        books = await Books.read(self.system.provider_ledger)
        problems = books.problems(states, self._initial)
        if copies := sum(books.copies[one] - books.mails[one, states[one]["status"]] for one in states):
            self.measured.notes.append(f"{copies} mails were sent twice, by workers that died in between")
        return [
            Check(": ".join((_MONEY, *problems[:3])), not problems),
            Check("every user was told", all(state["notified"] for state in states.values())),
            Check("every payment is final", set(self.measured.statuses) <= {"success", "fail"}),
            await self._queues_are_empty(),
        ]

    async def _queues_are_empty(self) -> Check:
        what = "delegator serve does not say what is in the queues"
        async with aiohttp.ClientSession() as session:
            for _ in range(_LOOKS):  # it counts every few seconds
                found = await queues(session, self.system.environment.get("PAYMENTS_SERVE_URL"))
                if found is not None:
                    jobs, dead = (sum(queue[what] for queue in found.values()) for what in ("jobs", "dead"))
                    what = f"queues empty ({jobs} jobs), no dead letters ({dead})"
                    if not jobs:
                        return Check(what, not dead)
                await asyncio.sleep(1)
        return Check(what, False)

    async def _pay(self, number: int, intended: float) -> None:
        user, started, refusals = self._users[number % len(self._users)], self.now, 0
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                status, answer = await self._api.pay(user, AMOUNT, f"{self._prefix}-{number}")
                if status in (200, 202):
                    break
            refusals += 1  # a shop asks again, with the same key
            await asyncio.sleep(_AGAIN_SECONDS)
        accepted, payment_id = self.now, answer["payment_id"]
        while True:
            with suppress(RPCError):
                await self._client.get_workflow_handle(workflow_id(payment_id)).result()
                break
            await asyncio.sleep(_AGAIN_SECONDS)
        seen = Seen(payment_id, intended - self._begin, started, accepted, self.now, refusals)
        self.measured.seen.append(seen)

    async def _sample(self) -> dict[str, float]:
        dead = await fetch_value("SELECT sum(n_dead_tup) FROM pg_stat_user_tables")
        is_open = "WorkflowType = 'Payment' AND ExecutionStatus = 'Running'"
        return {
            "memory (MB)": memory_mb(self.system.pids.values()),
            "dead tuples": float(str(dead or 0)),
            "open payments": float((await self._client.count_workflows(is_open)).count),
        }
