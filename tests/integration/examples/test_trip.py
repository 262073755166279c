from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutError
from temporalio.worker import Replayer, Worker

from delegator import DelegatorPlugin
from delegator.dev import RunningStack
from examples.command import until
from examples.database import create_tables, execute, fetch_all, schema_of
from examples.local import Pool, System, local_system
from examples.saga import Terms
from examples.trip import tasks
from examples.trip.workflow import BookTrip, Trip
from tests.integration.examples import broken_trips

KINDS = ("credit", "hotel", "flight")
FREE = {"credit": 100, "hotel": 1, "flight": 1}


@dataclass(frozen=True)
class Booking:
    """A trip with a customer, a hotel and a flight of its own."""

    system: System
    directory: Path
    trip: Trip

    async def start(self, task_queue: str = "trip-tests") -> WorkflowHandle[BookTrip, None]:
        for kind in KINDS:
            await execute("INSERT INTO trip.stock VALUES (%s, %s)", self._name(kind), FREE[kind])
        return await self.system.client.start_workflow(
            BookTrip.run, self.trip, id=self.trip.trip_id, task_queue=task_queue
        )

    def fault(self, job: str, kind: str, fault: str) -> None:
        self._file(job, kind).write_text(fault)

    def let(self, job: str, kind: str) -> None:
        self._file(job, kind).with_suffix(".let").touch()

    async def ran(self, job: str, kind: str, times: int = 1) -> None:
        """Wait until a job has run, as far as its fault lets it."""
        runs = self._file(job, kind).with_suffix(".runs")

        async def has_run() -> bool:
            return runs.exists() and len(runs.read_text().splitlines()) >= times

        await until(f"{job} {kind} has run", has_run)

    async def said(self, job: str, kind: str) -> str:
        file = self._file(job, kind).with_suffix(".said")

        async def has_said() -> bool:
            return file.exists() and file.read_text() != ""

        await until(f"{job} {kind} has come late", has_said)
        return file.read_text()

    async def free(self) -> dict[str, int]:
        names = [self._name(kind) for kind in KINDS]
        rows = await fetch_all("SELECT name, free FROM trip.stock WHERE name = ANY (%s)", names)
        return {broken_trips.kind_of(name): free for name, free in rows}

    async def reserved(self) -> list[str]:
        select = "SELECT name FROM trip.reservations WHERE trip_id = %s AND NOT released"
        return sorted(broken_trips.kind_of(name) for (name,) in await fetch_all(select, self.trip.trip_id))

    def _name(self, kind: str) -> str:
        return f"{kind}-{self.trip.trip_id}"

    def _file(self, job: str, kind: str) -> Path:
        return broken_trips.fault_file(self.directory, self.trip.trip_id, job, kind)


@pytest.fixture(scope="module")
async def system(servers: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    await create_tables(schema_of(tasks))
    pool = Pool([broken_trips], environment={broken_trips.DIRECTORY: str(tmp_path_factory.mktemp("trips"))})
    async with local_system(pool) as system:
        yield system


@pytest.fixture
async def worker(system: System) -> AsyncIterator[None]:
    async with Worker(system.client, task_queue="trip-tests", workflows=[BookTrip]):
        yield


class Bookings:
    """Makes bookings, and tells how they ended."""

    def __init__(self, system: System, directory: Path) -> None:
        self._system = system
        self._directory = directory

    def new(self, **options: Any) -> Booking:
        name = uuid.uuid4().hex[:12]
        trip = Trip(name, f"credit-{name}", 60, f"hotel-{name}", f"flight-{name}", Terms(**options))
        return Booking(self._system, self._directory, trip)


@pytest.fixture
def bookings(system: System, worker: None) -> Bookings:
    return Bookings(system, Path(system.pools["default"].variables[broken_trips.DIRECTORY]))


async def failure(handle: WorkflowHandle[Any, Any]) -> BaseException:
    """Return why a trip failed; its history replays."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    await Replayer(workflows=[BookTrip], plugins=[DelegatorPlugin()]).replay_workflow(await handle.fetch_history())
    cause = failed.value.cause
    return cause.__cause__ or cause


async def is_undone(booking: Booking) -> bool:
    return (await booking.free(), await booking.reserved()) == (FREE, [])


async def test_command(run_command, servers: RunningStack) -> None:
    """The command books one trip of three."""
    ended = await run_command("trip")
    assert (ended.code, ended.errors) == (0, "")
    *_, first, second, third, proven = ended.output.splitlines()
    assert first.endswith("booked")
    assert "SoldOut: flight" in second
    assert "SoldOut: credit" in third
    assert proven == "proven: only the first trip has taken credit, a room and a seat"


async def test_booked(bookings: Bookings) -> None:
    booking = bookings.new()
    await (await booking.start()).result()
    assert await booking.free() == {"credit": 40, "hotel": 0, "flight": 0}
    assert await booking.reserved() == sorted(KINDS)


@pytest.mark.parametrize("fault", ["fails", "fails after its effect"])
async def test_failure(bookings: Bookings, fault: str) -> None:
    """Each of the three steps fails, with its effect or without: nothing stays reserved."""

    async def fail_at(kind: str) -> None:
        booking = bookings.new()
        booking.fault("reserve", kind, fault)
        error = await failure(await booking.start())
        assert isinstance(error, ApplicationError) and error.type == "Broken"
        assert await is_undone(booking), kind

    await asyncio.gather(*(fail_at(kind) for kind in KINDS))


async def test_timeout(bookings: Bookings) -> None:
    """Each of the three steps times out after it took effect: nothing stays reserved."""

    async def time_out_at(kind: str) -> None:
        booking = bookings.new(step_seconds=1)
        booking.fault("reserve", kind, "hangs after its effect")
        assert isinstance(await failure(await booking.start()), TimeoutError)
        assert await is_undone(booking), kind

    await asyncio.gather(*(time_out_at(kind) for kind in KINDS))


async def test_late_step(bookings: Bookings) -> None:
    """A step that goes on after its timeout and its compensation is refused: its row says that it was released."""
    booking = bookings.new(step_seconds=1)
    booking.fault("reserve", "hotel", "late")
    assert isinstance(await failure(await booking.start()), TimeoutError)
    booking.let("reserve", "hotel")
    assert await booking.said("reserve", "hotel") == "Released"
    assert await is_undone(booking)


async def test_cancellation(bookings: Bookings) -> None:
    """Each of the three steps is cancelled while it runs, after its effect: nothing stays reserved."""

    async def cancel_at(kind: str) -> None:
        booking = bookings.new()
        booking.fault("reserve", kind, "hangs after its effect")
        handle = await booking.start()
        await booking.ran("reserve", kind)
        await handle.cancel()
        assert isinstance(await failure(handle), CancelledError)
        assert await is_undone(booking), kind

    await asyncio.gather(*(cancel_at(kind) for kind in KINDS))


async def test_second_cancellation(bookings: Bookings, system: System) -> None:
    """A cancellation in the middle of the compensations changes nothing: they go on to the end.

    The worker has no cache, so each workflow task replays the run, and then evicts it in the middle of the saga.
    """
    booking = bookings.new()
    booking.fault("reserve", "flight", "hangs after its effect")
    booking.fault("release", "hotel", "waits")
    name = booking.trip.trip_id
    async with Worker(system.client, task_queue=name, workflows=[BookTrip], max_cached_workflows=0):
        handle = await booking.start(task_queue=name)
        await booking.ran("reserve", "flight")
        await handle.cancel()
        await booking.ran("release", "hotel")
        await handle.cancel()
        booking.let("release", "hotel")
        assert isinstance(await failure(handle), CancelledError)
    assert await is_undone(booking)


async def test_cancelled_while_compensating(bookings: Bookings) -> None:
    """A cancellation that comes after a failure: the compensations go on, and the failure is what comes out."""
    booking = bookings.new()
    booking.fault("reserve", "flight", "fails")
    booking.fault("release", "hotel", "waits")
    handle = await booking.start()
    await booking.ran("release", "hotel")
    # The last step is undone first, and the first one last.
    await booking.ran("release", "flight")
    assert await booking.free() == {"credit": 40, "hotel": 0, "flight": 1}
    await handle.cancel()
    booking.let("release", "hotel")
    assert isinstance(await failure(handle), ApplicationError)
    assert await is_undone(booking)


async def test_stuck_compensation(bookings: Bookings) -> None:
    """A compensation that keeps failing asks for a person, and does not keep the next one from its work."""
    booking = bookings.new(attempts_alone=1)
    booking.fault("reserve", "flight", "fails")
    booking.fault("release", "hotel", "fails for now")
    handle = await booking.start()

    async def needs_person() -> bool:
        names = await handle.query(BookTrip.needs_person)
        return len(names) == 1 and "hotel" in names[0]

    await until("a person is asked for", needs_person)
    await booking.ran("release", "credit")
    assert await booking.free() == {"credit": 100, "hotel": 0, "flight": 1}
    booking.fault("release", "hotel", "")
    assert isinstance(await failure(handle), ApplicationError)
    assert await is_undone(booking)
    assert await handle.query(BookTrip.needs_person) == []


@pytest.mark.parametrize("job", ["reserve", "release"])
async def test_killed_pool(bookings: Bookings, system: System, job: str) -> None:
    """A pool is killed after a step or a compensation took effect: it runs again and has no second effect."""
    booking = bookings.new()
    booking.fault(job, "hotel", "hangs once")
    if job == "release":
        booking.fault("reserve", "flight", "fails")
    handle = await booking.start()
    await booking.ran(job, "hotel")
    await system.pools["default"].kill()
    await system.pools["default"].start()
    if job == "reserve":
        await handle.result()
        assert await booking.free() == {"credit": 40, "hotel": 0, "flight": 0}
    else:
        assert isinstance(await failure(handle), ApplicationError)
        assert await is_undone(booking)
    await booking.ran(job, "hotel", times=2)
