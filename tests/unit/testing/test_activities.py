"""Delegated functions as ordinary activities: the same functions, the same context."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from delegator import current_job, delegated, heartbeat
from delegator.errors import ConfigurationError


@delegated
async def tells() -> list[Any]:
    job = current_job()
    heartbeat("half", 1)
    return [job.job_id, job.job_type, job.attempt, job.workflow_id, list(job.heartbeat_details)]


@delegated
def tells_in_thread() -> str:
    heartbeat("half", 2)
    return current_job().job_id


async def test_activity_environment():
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, activity_type="tells", attempt=2, heartbeat_details=[7])
    beats: list[Any] = []
    environment.on_heartbeat = lambda *details: beats.append(details)
    assert await environment.run(tells) == ["activity:test-run:test", "tells", 2, "test", [7]]
    assert environment.run(tells_in_thread) == "activity:test-run:test"
    assert beats == [("half", 1), ("half", 2)]


async def test_job_id_is_stable_over_attempts():
    environment = ActivityEnvironment()
    first = (await environment.run(tells))[0]
    environment.info = dataclasses.replace(environment.info, attempt=2)
    assert (await environment.run(tells))[0] == first


def test_nowhere():
    with pytest.raises(ConfigurationError, match="current_job"):
        current_job()
