"""The same code fails as an ordinary activity and as a delegated job. The workflow sees the same, field by field."""

from __future__ import annotations

import asyncio
import json
import uuid
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.worker import Worker

from delegator import Settings
from delegator.contracts import collect_handlers
from delegator.dev.temporal import TemporalServer
from tests.integration.delegator import failing
from tests.integration.delegator.environment import PATIENT, SIGNALLED, Environment
from tests.integration.delegator.failing_flows import TellsFailure
from tests.integration.delegator.in_memory import in_memory_environment
from tests.integration.delegator.test_encryption import CONVERTER as ENCRYPTED


class Case(NamedTuple):
    """One call that fails."""

    name: str
    args: Sequence[Any] = ()
    options: Mapping[str, Any] = {}

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
        for kind in ("WAIT_CANCELLATION_COMPLETED", "TRY_CANCEL")
    ),
]
NOBODY_RUNS = [
    Case("fails_plainly", options={"schedule_to_start_timeout": 0.3}),
    Case("fails_plainly", options={"schedule_to_close_timeout": 0.3}),
    Case("fails_plainly", options={"schedule_to_start_timeout": 0.3, "schedule_to_close_timeout": 5}),
    Case("fails_plainly", options={"schedule_to_start_timeout": 5, "schedule_to_close_timeout": 0.3}),
    *(Case("fails_plainly", options={"cancel": kind}) for kind in ("WAIT_CANCELLATION_COMPLETED", "TRY_CANCEL")),
]
ENCODED = ["fails_plainly", "fails_with_chain", "fails_with_details", "fails_with_strange_details", "overruns"]
REFUSED = [
    (Case("raises_cancelled"), ("CancelledError", "NON_RETRYABLE_FAILURE")),
    (Case("raises_timeout", [0]), ("TimeoutError", "NON_RETRYABLE_FAILURE")),
    (Case("raises_timeout", [1]), ("TimeoutError", "MAXIMUM_ATTEMPTS_REACHED")),
    (Case("raises_timeout", [3]), ("TimeoutError", "NON_RETRYABLE_FAILURE")),
    (Case("raises_child_error"), ("ChildWorkflowError", "MAXIMUM_ATTEMPTS_REACHED")),
    (Case("raises_activity_error"), ("ActivityError", "MAXIMUM_ATTEMPTS_REACHED")),
    (Case("raises_server_error", [True]), ("ServerError", "NON_RETRYABLE_FAILURE")),
    (Case("raises_server_error", [False]), ("ServerError", "MAXIMUM_ATTEMPTS_REACHED")),
    (Case("raises_terminated"), ("TerminatedError", "NON_RETRYABLE_FAILURE")),
    (Case("fails_mutely"), ("ApplicationError", "MAXIMUM_ATTEMPTS_REACHED")),
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


async def test_encoded_attributes(temporal: TemporalServer):
    """The same with a codec and a failure converter that moves messages and stack traces into encoded attributes."""
    cases = [case for case in CASES if case.name in ENCODED]
    async with in_memory_environment(temporal, data_converter=ENCRYPTED) as engine:
        functions = [handler.function for handler in collect_handlers([failing]).values()]
        task_queue = f"ordinary-{uuid.uuid4()}"
        async with Worker(engine.client, task_queue=task_queue, workflows=[TellsFailure], activities=functions):
            ordinary = await tell_all(engine, cases, "execute_activity", task_queue)
        async with engine.worker(PATIENT, intercept=True) as task_queue:
            assert_same(await tell_all(engine, cases, "execute_activity", task_queue), ordinary)


async def test_refused_by_the_server(engine: Environment, signal_queue: str):
    """Temporal's server refuses these failures of an ordinary activity, which then times out. A job fails at once."""
    cases = [case for case, _ in REFUSED]
    told = await tell_all(engine, cases, "delegate", signal_queue)
    seen = {key: (one["chain"][1]["class"], one["chain"][0]["retry_state"]) for key, one in told.items()}
    assert list(seen.values()) == [expected for _, expected in REFUSED]
    assert told[cases[0].key]["chain"][1]["details"] == [{"so": "far"}]
    assert told[cases[1].key]["chain"][1]["last_heartbeat_details"] == ["page", 3]
    assert told[cases[4].key]["chain"][2]["type"] == "Inner"


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
        failure["stackTrace"] = _own(failure["stackTrace"])
    if "encodedAttributes" in failure:
        encoded = json.loads(b64decode(failure["encodedAttributes"]["data"]))
        failure["encodedAttributes"]["data"] = {**encoded, "stack_trace": _own(encoded["stack_trace"])}
    if "cause" in failure:
        _cut(failure["cause"])


def _own(trace: str) -> str:
    lines = trace.split("\n")
    own = [number for number, line in enumerate(lines) if "failing.py" in line]
    return "\n".join(lines[own[0] :]) if own else "elsewhere"


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
