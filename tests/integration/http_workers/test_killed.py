"""A handler that kills its worker uses up its attempts, as any other failure does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator import flows
from tests.integration.delegator.environment import Environment, HttpWorker, environment, eventually
from tests.support import Databases


@pytest.fixture(scope="module")
async def engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


async def ended(worker: HttpWorker) -> None:
    await worker.process.wait()


async def test_attempts_end(engine: Environment) -> None:
    """After its last attempt the workflow gets a timeout, and the job is a dead letter. Its neighbour runs again."""
    async with engine.worker() as task_queue:
        handle = await engine.start(flows.Fails.run, "delegate", "kills_its_worker", [], 2, [], task_queue=task_queue)
        with engine.held("innocent"):
            async with engine.http_worker() as worker:
                innocent = await engine.start(flows.Sequence_.run, "delegate", 1, task_queue=task_queue, id="innocent")
                await ended(worker)
            async with engine.http_worker() as worker:
                await ended(worker)
        async with engine.http_worker() as worker:
            failure = await engine.result(handle)
            assert await engine.result(innocent) == [0]
            assert worker.process.returncode is None
        assert (failure["cause"], failure["type"]) == ("TimeoutError", "HEARTBEAT")
        assert failure["retry_state"] == "MAXIMUM_ATTEMPTS_REACHED"
        assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]
        (letter,) = await engine.dead_letters(handle.id)
        assert (letter.reason, letter.attempt) == ("attempts_exhausted", 2)

        async def nothing_is_left() -> bool:
            return not await engine.unfinished()

        await eventually(nothing_is_left)
