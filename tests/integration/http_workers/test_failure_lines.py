"""What a worker's log says of a handler that logs, and fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator.environment import Environment, environment, eventually
from tests.integration.http_workers import talking_tasks
from tests.integration.http_workers.test_stop import enqueue
from tests.support import Databases


@pytest.fixture(scope="module")
async def idle_engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


async def lines_of_a_failure(engine: Environment, job_id: str, **variables: str) -> dict[str, dict[str, Any]]:
    async with engine.http_worker("--log-format", "json", modules=[talking_tasks.__name__], **variables) as worker:
        await enqueue(engine, job_id, job_type="talk", input=None)

        async def failed() -> bool:
            return "dead_letter_stored" in worker.log.read_text()

        await eventually(failed)
    return {line["event"]: line for line in map(json.loads, worker.log.read_text().splitlines())}


async def test_a_failure_says_where(idle_engine: Environment) -> None:
    """Not why: the message may hold what a codec hides. What the handler itself logs is whole."""
    lines = await lines_of_a_failure(idle_engine, "silent")
    failed = lines["attempt_failed"]
    assert (failed["error"], failed["job_id"]) == ("OutOfBoxes", "silent")
    assert failed["at"].startswith("talking_tasks.py:")
    assert failed["at"].endswith(":talk")
    assert not {"reason", "traceback"} & set(failed)
    assert lines["packing failed"]["reason"] == "an empty box"
    assert lines["packing failed"]["traceback"].endswith("ValueError: an empty box")
    assert (lines["counted"]["job_id"], lines["counted"]["boxes"]) == ("silent", 3)


async def test_a_failure_says_why_on_demand(idle_engine: Environment) -> None:
    failed = (await lines_of_a_failure(idle_engine, "loud", DELEGATOR_LOG_MESSAGES="on"))["attempt_failed"]
    assert failed["reason"] == "no boxes left"
    assert "in talk" in failed["traceback"]
