from __future__ import annotations

import asyncio
from itertools import groupby

import pytest
from temporalio.exceptions import ApplicationError

from delegator.errors import TemporalError
from loadtest.runs.generator import Outcome, bursts, busy_seconds, closed_loop, open_loop
from loadtest.workload.jobs import Work
from loadtest.workload.scenarios import Pattern

WORKS = [Work(number, 1, Pattern.IN_TURN) for number in range(20)]


async def test_keeps_the_asked_number_in_flight() -> None:
    in_flight, most, done = 0, 0, 0

    async def execute(work: Work) -> int:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return work.workflow

    def progress() -> None:
        nonlocal done
        done += 1

    outcomes = await closed_loop(execute, WORKS, concurrency=4, progress=progress)
    assert most == 4
    assert done == 20
    assert sorted(outcome.answer for outcome in outcomes) == list(range(20))


async def test_a_failed_workflow_is_an_outcome() -> None:
    async def execute(work: Work) -> int:
        if work.workflow == 3:
            raise ApplicationError("no luck")
        if work.workflow == 4:
            raise ExceptionGroup("batch", [ApplicationError("no luck either")])
        return work.workflow

    outcomes = await closed_loop(execute, WORKS, concurrency=4, progress=lambda: None)
    failed = {outcome.work.workflow: outcome.error for outcome in outcomes if outcome.answer is None}
    assert failed == {3: "ApplicationError: no luck", 4: "ApplicationError: no luck either"}


async def test_a_server_that_can_not_is_an_error() -> None:
    async def execute(work: Work) -> int:
        raise ExceptionGroup("batch", [TemporalError("no standalone activities here")])

    with pytest.raises(TemporalError, match="no standalone"):
        await closed_loop(execute, WORKS, concurrency=4, progress=lambda: None)


class Time:
    """A clock that moves only when a test sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, future))
        await future

    async def run(self, work) -> list[Outcome]:
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers:
                self._sleepers.sort(key=lambda sleeper: sleeper[0])
                until, future = self._sleepers.pop(0)
                self.now = max(self.now, until)
                future.set_result(None)
        return task.result()


async def test_open_loop() -> None:
    """An open loop starts workflows at its rate, whether earlier ones are done or not."""
    time, starts = Time(), []

    async def execute(work: Work) -> int:
        starts.append(time.now)
        await time.sleep(7)
        return work.workflow

    outcomes = await time.run(
        open_loop(execute, WORKS, rate=4, progress=lambda: None, clock=time.clock, sleep=time.sleep)
    )
    assert starts == [100 + number / 4 for number in range(20)]
    assert {(outcome.lag, outcome.seconds) for outcome in outcomes} == {(0, 7)}


async def test_late_start() -> None:
    """A late start is part of the latency."""
    time = Time()

    async def execute(work: Work) -> int:
        if work.workflow == 4:
            time.now += 2  # the process is busy for two seconds
        await time.sleep(0.5)
        return work.workflow

    outcomes = await time.run(
        open_loop(execute, WORKS, rate=10, progress=lambda: None, clock=time.clock, sleep=time.sleep)
    )
    by_number = sorted(outcomes, key=lambda outcome: outcome.work.workflow)
    intended = [outcome.intended for outcome in by_number]
    assert intended == pytest.approx([100 + number / 10 for number in range(20)])
    assert by_number[3].lag == pytest.approx(0)
    assert by_number[5].lag == pytest.approx(1.9)
    assert by_number[6].lag == pytest.approx(1.8)
    assert by_number[19].lag == pytest.approx(0.5)
    assert by_number[5].seconds == pytest.approx(1.9 + 0.5)
    assert all(outcome.seconds == pytest.approx(outcome.ended - outcome.intended) for outcome in outcomes)


async def test_open_loop_error() -> None:
    """An open loop ends with the first error that no workflow can survive."""

    async def execute(work: Work) -> int:
        raise TemporalError("no standalone activities here")

    with pytest.raises(TemporalError, match="no standalone"):
        await open_loop(execute, WORKS, rate=1_000, progress=lambda: None)


@pytest.mark.parametrize(("count", "sizes"), [(1, [20]), (3, [6, 7, 7]), (20, [1] * 20)])
async def test_bursts_share_out_all_workflows(count: int, sizes: list[int]) -> None:
    in_flight: set[int] = set()
    seen: list[int] = []

    async def execute(work: Work) -> int:
        in_flight.add(work.workflow)
        await asyncio.sleep(0.001)
        if in_flight:
            seen.append(len(in_flight))
            in_flight.clear()
        return work.workflow

    outcomes = await bursts(execute, WORKS, count=count, pause=0.001, progress=lambda: None)
    assert seen == sizes
    assert [outcome.work.workflow for outcome in outcomes] == list(range(20))
    # All of a burst have the same intended start: what starts after the first is late.
    assert [len(list(alike)) for _, alike in groupby(outcomes, lambda outcome: outcome.intended)] == sizes


def test_busy_seconds() -> None:
    """Only the time with a workflow in flight counts."""

    def outcome(begin: float, end: float) -> Outcome:
        return Outcome(WORKS[0], begin, begin, end, 0)

    assert busy_seconds([]) == 0
    assert busy_seconds([outcome(5, 7), outcome(1, 3), outcome(2, 4), outcome(5.5, 6)]) == 5
