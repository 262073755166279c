from __future__ import annotations

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from delegator.errors import TemporalError
from loadtest.generator import closed_loop
from loadtest.scenarios import Pattern
from loadtest.work import Work

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
