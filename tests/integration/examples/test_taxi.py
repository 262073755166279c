from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutError
from temporalio.worker import Replayer, Worker

from delegator import DelegatorPlugin, PluginOptions
from delegator.dev import RunningStack
from examples.command import until
from examples.database import connection, create_tables, fetch_value, schema_of
from examples.local import MAILBOX, Dispatch, Pool, System, local_system
from examples.taxi import tasks
from examples.taxi.__main__ import CREDIT, POOL, open_accounts
from examples.taxi.workflow import COMPANY, RefundTrip, SettleTrip, Trip, shares_of
from tests.integration.examples import broken_taxi

WORKFLOWS = [SettleTrip, RefundTrip]


class Taxi:
    """Settles trips, and looks into the ledger."""

    def __init__(self, system: System, directory: Path, task_queue: str = "taxi-tests") -> None:
        self.system = system
        self.task_queue = task_queue
        self.directory = directory

    async def trip(self, price: int = 1_001, **options: Any) -> Trip:
        """Return a trip of a client and a driver who have accounts of their own."""
        name = uuid.uuid4().hex[:12]
        await open_accounts([f"ada-{name}"], [f"ben-{name}", f"closed-{name}"])
        return Trip(f"trip-{name}", f"ada-{name}", f"ben-{name}", price, **options)

    async def settle(self, trip: Trip, workflow_id: str | None = None) -> WorkflowHandle[SettleTrip, Any]:
        return await self.system.client.start_workflow(
            SettleTrip.run, trip, id=workflow_id or f"settle-{trip.trip_id}", task_queue=self.task_queue
        )

    async def refund(self, trip: Trip) -> WorkflowHandle[RefundTrip, Any]:
        return await self.system.client.start_workflow(
            RefundTrip.run, args=[trip.trip_id, 300], id=f"refund-{trip.trip_id}", task_queue=self.task_queue
        )

    async def failure(self, handle: WorkflowHandle[Any, Any]) -> BaseException:
        """Return why a saga failed. Its history replays."""
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        options = PluginOptions(intercept=True, patch=False, task_queues={"default": "default"})
        plugin = DelegatorPlugin([broken_taxi], options=options)
        await Replayer(workflows=WORKFLOWS, plugins=[plugin]).replay_workflow(await handle.fetch_history())
        return failed.value.cause.__cause__ or failed.value.cause


async def money(trip: Trip) -> list[Any]:
    """Return what the client has spent, what the driver and the company have got, and what is on its way."""
    got = "SELECT coalesce(sum(amount), 0)::bigint FROM taxi.entries WHERE account = %s AND saga_id LIKE %s"
    credit = await fetch_value("SELECT credit FROM taxi.accounts WHERE id = %s", trip.client)
    assert isinstance(credit, int)
    spent = await fetch_value(got, trip.client, f"{trip.trip_id}%")
    assert spent == credit - CREDIT, "the ledger and the client's credit say the same"
    whole = "SELECT coalesce(sum(amount), 0)::bigint FROM taxi.entries WHERE saga_id LIKE %s"
    assert await fetch_value(whole, f"{trip.trip_id}%") == 0
    sagas = "SELECT coalesce(sum(amount), 0)::bigint FROM taxi.entries WHERE account LIKE %s"
    received = [await fetch_value(got, account, f"{trip.trip_id}%") for account in (trip.driver, COMPANY)]
    return [CREDIT - credit, *received, await fetch_value(sagas, f"{trip.trip_id}%")]


async def mails(trip: Trip) -> object:
    return await fetch_value("SELECT count(*) FROM mailbox.mails WHERE recipient = %s", f"{trip.client}@example.org")


async def is_settled(trip: Trip) -> object:
    """Return None if the trip is not settled, else whether it is refunded."""
    return await fetch_value("SELECT is_refunded FROM taxi.settlements WHERE trip_id = %s", trip.trip_id)


@pytest.fixture(scope="module")
async def taxi(servers: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Taxi]:
    await create_tables(schema_of(tasks))
    directory = tmp_path_factory.mktemp("taxi")
    pool = Pool([broken_taxi], environment={broken_taxi.DIRECTORY: str(directory)})
    async with (
        local_system(pool, intercept=True, services=[MAILBOX]) as system,
        Worker(system.client, task_queue="taxi-tests", workflows=WORKFLOWS),
    ):
        yield Taxi(system, directory)


async def test_command(run_command, servers: RunningStack) -> None:
    """The command settles trips of two busy drivers."""
    ended = await run_command("taxi", "--trips", "60")
    assert (ended.code, ended.errors) == (0, "")
    first, *_ = ended.output.splitlines()
    assert "3 AccountClosed" in first and "settled" in first
    assert sum(line.startswith("proven: ") for line in ended.output.splitlines()) == 4


@pytest.mark.parametrize("price", [1, 2, 3, 99, 1_001, 99_999])
@pytest.mark.parametrize("commission", [0, 1, 1_750, 3_333, 10_000])
def test_shares(price: int, commission: int) -> None:
    """The shares are the price, and the company has what can't be divided: less than a cent more than its share."""
    shares = shares_of(Trip("trip", "client", "driver", price, commission))
    assert shares.driver_cents + shares.company_cents == price
    assert 0 <= shares.company_cents * 10_000 - price * commission < 10_000


async def test_settled_twice(taxi: Taxi) -> None:
    """Two runs at once and one after them settle a trip once, and send one mail."""
    trip = await taxi.trip()
    runs = await asyncio.gather(taxi.settle(trip), taxi.settle(trip, f"again-{trip.trip_id}"))
    await asyncio.gather(*(run.result() for run in runs))
    await (await taxi.settle(trip)).result()
    assert await money(trip) == [1_001, 825, 176, 0]
    assert await is_settled(trip) is False
    assert await mails(trip) == 1


async def test_refused(taxi: Taxi) -> None:
    """The client has too little money, or the driver's or the client's account is closed: nobody pays."""
    poor, closed, nobody = await taxi.trip(CREDIT + 1), await taxi.trip(), await taxi.trip()
    closed = replace(closed, driver=closed.driver.replace("ben", "closed"))
    async with connection() as opened:
        await opened.execute("UPDATE taxi.accounts SET is_open = false WHERE id = %s", (nobody.client,))
    for trip, kind in ((poor, "NoMoney"), (closed, "AccountClosed"), (nobody, "AccountClosed")):
        error = await taxi.failure(await taxi.settle(trip))
        assert isinstance(error, ApplicationError) and error.type == kind
        assert await money(trip) == [0, 0, 0, 0]
        assert await is_settled(trip) is None
        assert await mails(trip) == 0


@pytest.mark.parametrize("how", ["cancelled", "times out", "killed"])
async def test_broken_off(taxi: Taxi, how: str) -> None:
    """Each of the movements hangs after its effect: a cancellation and a timeout undo it, a killed pool goes on."""

    async def break_off(step: str) -> tuple[Trip, WorkflowHandle[SettleTrip, Any]]:
        trip = await taxi.trip(step_seconds=2 if how == "times out" else 300)
        fault = broken_taxi.fault_file(taxi.directory, trip.trip_id, step)
        fault.touch()
        handle = await taxi.settle(trip)

        async def hangs() -> bool:
            return not fault.exists()

        await until("the step hangs", hangs)
        return trip, handle

    broken = await asyncio.gather(*map(break_off, ("fare", "driver", "commission")))
    if how == "killed":
        await taxi.system.pools["default"].kill()
        await taxi.system.pools["default"].start()
    for trip, handle in broken:
        if how == "killed":
            await handle.result()
            assert await money(trip) == [1_001, 825, 176, 0]
            continue
        if how == "cancelled":
            await handle.cancel()
        expected = CancelledError if how == "cancelled" else TimeoutError
        assert isinstance(await taxi.failure(handle), expected)
        assert await money(trip) == [0, 0, 0, 0]
        assert await is_settled(trip) is None


async def test_late_step(taxi: Taxi) -> None:
    """A movement that comes after it was taken back is refused."""
    trip = await taxi.trip()
    error = await taxi.failure(await taxi.settle(replace(trip, price_cents=CREDIT + 1)))
    assert isinstance(error, ApplicationError) and error.type == "NoMoney"
    again = await taxi.failure(await taxi.settle(trip))
    assert isinstance(again, ApplicationError) and again.type == "CalledOff"
    assert await money(trip) == [0, 0, 0, 0]


async def test_refund(taxi: Taxi) -> None:
    """A refund takes a settlement back once, with entries of its own, and only a settlement."""
    trip = await taxi.trip()
    error = await taxi.failure(await taxi.refund(trip))
    assert isinstance(error, ApplicationError) and error.type == "NotSettled"
    await (await taxi.settle(trip)).result()
    await (await taxi.refund(trip)).result()
    await (await taxi.refund(trip)).result()
    assert await money(trip) == [0, 0, 0, 0]
    assert await is_settled(trip) is True
    assert await mails(trip) == 2
    assert await fetch_value("SELECT count(*) FROM taxi.entries WHERE saga_id LIKE %s", f"{trip.trip_id}%") == 12


async def test_refused_refund(taxi: Taxi) -> None:
    """The client's account is closed: the refund leaves the settlement as it was."""
    trip = await taxi.trip()
    await (await taxi.settle(trip)).result()
    async with connection() as opened:
        await opened.execute("UPDATE taxi.accounts SET is_open = false WHERE id = %s", (trip.client,))
    error = await taxi.failure(await taxi.refund(trip))
    assert isinstance(error, ApplicationError) and error.type == "AccountClosed"
    assert await money(trip) == [1_001, 825, 176, 0]
    assert await is_settled(trip) is False


async def test_classic(taxi: Taxi) -> None:
    """With classic dispatch the same workflows do the same."""
    pool = replace(POOL, environment=taxi.system.pools["default"].variables)
    trip, poor = await taxi.trip(), await taxi.trip(CREDIT + 1)
    async with (
        local_system(pool, dispatch=Dispatch.CLASSIC, intercept=True) as system,
        Worker(system.client, task_queue="taxi-classic", workflows=WORKFLOWS),
    ):
        classic = Taxi(system, taxi.directory, "taxi-classic")
        await (await classic.settle(trip)).result()
        with pytest.raises(WorkflowFailureError):
            await (await classic.settle(poor)).result()
    assert await money(trip) == [1_001, 825, 176, 0]
    assert await money(poor) == [0, 0, 0, 0]
