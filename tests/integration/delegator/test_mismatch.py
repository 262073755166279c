"""Clients and http-workers whose data converters differ: who says so, and that no job is lost."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from tests.integration.delegator import flows
from tests.integration.delegator.conftest import StartEngine
from tests.integration.delegator.environment import PATIENT, SIGNALLED, Environment, HttpWorker, eventually
from tests.integration.delegator.test_encryption import CONVERTER
from tests.integration.delegator.test_failures import failed_task

PLAIN = "temporalio.converter:DataConverter"
OTHER_KEY = "tests.integration.delegator.encryption:other_key"
pytestmark = pytest.mark.postgres_only


async def test_client_encodes(start_engine: StartEngine):
    """A worker without the client's codec or key refuses the job in words, before its handler runs."""
    async with (
        start_engine(data_converter=CONVERTER, http_worker=False) as engine,
        engine.worker(SIGNALLED, workflows=[flows.CallsOne]) as task_queue,
    ):
        for spec, words in ((PLAIN, "and this process has none"), (OTHER_KEY, "with the same keys")):
            async with engine.http_worker(DELEGATOR_DATA_CONVERTER=spec) as worker:
                # Without an argument, nothing but the probe shows that the converters differ.
                handle = await start(engine, task_queue)
                line = await refusal(worker)
            assert words in line and "DELEGATOR_DATA_CONVERTER" in line
            assert engine.ledger(handle.id) == []
            async with engine.http_worker():
                assert await engine.result(handle) == 2  # the first attempt exits; the refusal is none


@pytest.mark.parametrize("inline", [True, False])
async def test_worker_encodes(idle_engine: Environment, inline: bool):
    """A client without the worker's codec fails its workflow task in words."""
    async with idle_engine.http_worker(DELEGATOR_DATA_CONVERTER=CONVERTER):
        async with idle_engine.worker(PATIENT if inline else SIGNALLED, workflows=[flows.CallsOne]) as task_queue:
            handle = await start(idle_engine, task_queue)
            try:
                assert "DELEGATOR_DATA_CONVERTER" in await failed_task(handle)
            finally:
                await handle.terminate()
        await idle_engine.nothing_left()


async def start(engine: Environment, task_queue: str) -> WorkflowHandle[Any, Any]:
    return await engine.start(flows.CallsOne.run, "delegate", "exits", [], {}, task_queue=task_queue)


async def refusal(worker: HttpWorker) -> str:
    async def line() -> str:
        return next((line for line in worker.log.read_text().splitlines() if "jobs_refused" in line), "")

    return str(await eventually(line))
