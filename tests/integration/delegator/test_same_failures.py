"""The same code fails as an ordinary activity and as a delegated job. The workflow sees the same, field by field."""

from __future__ import annotations

import asyncio
import uuid
from base64 import b64decode
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.worker import Worker

from delegator import Settings
from delegator.contracts import collect_handlers
from tests.integration.delegator import failing
from tests.integration.delegator.environment import SIGNALLED, Environment
from tests.integration.delegator.failing_flows import TellsFailure


class Case(NamedTuple):
    """One call that fails."""

    name: str
    args: list[Any] = []  # noqa: RUF012
    options: dict[str, Any] = {}  # noqa: RUF012

    @property
    def key(self) -> str:
        return " ".join(map(str, (self.name, *self.args, *(f"{k}={v}" for k, v in self.options.items()))))


CASES = [
    Case("fails_plainly"),
    Case("fails_plainly", options={"attempts": 2}),
    Case("fails_plainly", options={"not_retried": ["ValueError"], "attempts": 0}),
    Case("fails_plainly", options={"schedule_to_close_timeout": 0.5, "initial_interval": 10, "attempts": 0}),
    Case("fails_without_message"),
    Case("fails_with_chain"),
    Case("fails_in_handling"),
    Case("fails_in_handling_plainly"),
    Case("fails_with_details"),
    Case("fails_without_type"),
    Case("fails_with_delay", options={"attempts": 2}),
    Case("fails_with_long_delay", options={"schedule_to_close_timeout": 20, "attempts": 2}),
    Case("fails_benignly"),
    Case("raises_asyncio_cancelled", options={"attempts": 2}),
    Case("raises_asyncio_timeout"),
    Case("raises_group"),
    Case("raises_base_exception", ["SystemExit"]),
    Case("raises_base_exception", ["StrangeError"]),
    Case("raises_base_exception", ["KeyboardInterrupt"]),
    Case("raises_stop_iteration"),
    Case("fails_with_strange_details"),
    Case("fails_with_strange_details", options={"attempts": 2}),
    Case("fails_with_strange_text"),
    Case("fails_with_large_details", options={"attempts": 2}),
    Case("returns_strange"),
    Case("returns_large", options={"attempts": 2}),
    Case("overruns", options={"start_to_close_timeout": 0.2, "attempts": 2}),
    Case("overruns", options={"start_to_close_timeout": 0.2, "schedule_to_close_timeout": 5, "initial_interval": 9}),
    Case(
        "overruns",
        options={"start_to_close_timeout": 0.2, "schedule_to_close_timeout": 5, "initial_interval": 9, "attempts": 0},
    ),
    Case("overruns", options={"schedule_to_close_timeout": 0.4}),
    Case("overruns_after_heartbeat", options={"start_to_close_timeout": 0.5}),
    Case("overruns_after_heartbeat", options={"schedule_to_close_timeout": 0.5}),
    Case("overruns_after_heartbeat", options={"heartbeat_timeout": 0.3}),
    Case("fails_then_overruns", options={"schedule_to_close_timeout": 0.7, "attempts": 0}),
    Case("fails_then_overruns", options={"start_to_close_timeout": 0.4, "attempts": 2}),
    Case("overruns_quietly_at_last", options={"start_to_close_timeout": 0.4, "attempts": 2}),
    *(
        Case("stops_when_cancelled", [how], {"cancel": kind, "heartbeat_timeout": 5, "attempts": 2})
        for how in ("stops", "raises", "fails", "returns")
        for kind in ("WAIT_CANCELLATION_COMPLETED",)
    ),
]
NOBODY_RUNS = [
    Case("fails_plainly", options={"schedule_to_start_timeout": 0.3}),
    Case("fails_plainly", options={"schedule_to_close_timeout": 0.3}),
    Case("fails_plainly", options={"schedule_to_start_timeout": 0.3, "schedule_to_close_timeout": 5}),
    Case("fails_plainly", options={"schedule_to_start_timeout": 5, "schedule_to_close_timeout": 0.3}),
    *(Case("fails_plainly", options={"cancel": kind}) for kind in ("WAIT_CANCELLATION_COMPLETED", "TRY_CANCEL")),
]
DONE_INLINE = [case for case in CASES if "cancel" not in case.options]


@pytest.fixture(scope="session")
async def ordinary(temporal_client: Client) -> dict[str, Any]:
    """What workflows see when the handlers are ordinary activities."""
    engine = ordinary_engine(temporal_client)
    functions = [handler.function for handler in collect_handlers([failing]).values()]
    task_queue = f"ordinary-{uuid.uuid4()}"
    async with Worker(engine.client, task_queue=task_queue, workflows=[TellsFailure], activities=functions):
        return await tell_all(engine, CASES, "execute_activity", task_queue)


@pytest.fixture(scope="session")
async def ordinary_without_worker(temporal_client: Client) -> dict[str, Any]:
    """The same, where no worker takes activities."""
    engine = ordinary_engine(temporal_client)
    task_queue = f"ordinary-{uuid.uuid4()}"
    async with Worker(engine.client, task_queue=task_queue, workflows=[TellsFailure]):
        return await tell_all(engine, NOBODY_RUNS, "execute_activity", task_queue)


def ordinary_engine(client: Client) -> Environment:
    return Environment(client, Settings.model_construct(), Path(), {})


async def test_delegate(engine: Environment, signal_queue: str, ordinary: dict[str, Any]):
    """Every field of every error in the chain, and the failure in the history."""
    assert_same(await tell_all(engine, CASES, "delegate", signal_queue), ordinary)


async def test_execute_activity(engine: Environment, inline_queue: str, ordinary: dict[str, Any]):
    """The same by interceptor, with outcomes that come inline."""
    assert_same(await tell_all(engine, DONE_INLINE, "execute_activity", inline_queue), ordinary)


async def test_nobody_runs(idle_engine: Environment, ordinary_without_worker: dict[str, Any]):
    """The same without a single worker for activities, or for jobs."""
    async with idle_engine.worker(SIGNALLED, intercept=True, workflows=[TellsFailure]) as task_queue:
        for way in ("delegate", "execute_activity"):
            assert_same(await tell_all(idle_engine, NOBODY_RUNS, way, task_queue), ordinary_without_worker)
    await idle_engine.nothing_left()


def assert_same(told: dict[str, Any], ordinary: dict[str, Any]) -> None:
    different = {key: (seen, ordinary[key]) for key, seen in told.items() if seen != ordinary[key]}
    assert not different, explain(different)


async def tell_all(engine: Environment, cases: list[Case], way: str, task_queue: str) -> dict[str, Any]:
    async def tell(case: Case) -> Any:
        return comparable(await engine.execute(TellsFailure.run, way, *case, task_queue=task_queue))

    return dict(zip([case.key for case in cases], await asyncio.gather(*map(tell, cases)), strict=True))


def comparable(told: Any) -> Any:
    """Return what was told, without what can't be equal: ids of events and of the activity, the worker's name."""
    if isinstance(told, dict) and told["failure"] is not None:
        failure = Failure.FromString(b64decode(told["failure"]))
        masked = MessageToDict(failure)
        info = masked["activityFailureInfo"]
        for key in ("scheduledEventId", "startedEventId", "identity", "activityId"):
            info.pop(key, None)
        _cut(masked)
        told["failure"] = masked
    return told


def _cut(failure: dict[str, Any]) -> None:
    """Keep of stack traces what the handler's own code is."""
    if "stackTrace" in failure:
        lines = failure["stackTrace"].split("\n")
        own = [number for number, line in enumerate(lines) if "failing.py" in line]
        failure["stackTrace"] = "\n".join(lines[own[0] :]) if own else "elsewhere"
    if "cause" in failure:
        _cut(failure["cause"])


def explain(different: dict[str, tuple[Any, Any]]) -> str:
    lines = []
    for key, (told, expected) in different.items():
        lines += [key, *_differences("", told, expected)]
    return "\n".join(lines)


def _differences(path: str, told: Any, expected: Any) -> list[str]:
    if isinstance(told, dict) and isinstance(expected, dict):
        return [
            line
            for key in {**told, **expected}
            for line in _differences(f"{path}.{key}", told.get(key), expected.get(key))
        ]
    if isinstance(told, list) and isinstance(expected, list) and len(told) == len(expected):
        return [
            line
            for number, pair in enumerate(zip(told, expected, strict=True))
            for line in _differences(f"{path}[{number}]", *pair)
        ]
    return [] if told == expected else [f"  {path}: {str(told)[:300]!r} instead of {str(expected)[:300]!r}"]
