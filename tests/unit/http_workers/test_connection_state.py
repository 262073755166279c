from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry
from temporalio.service import RPCError, RPCStatusCode

from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState, SharedConnection


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(registry: CollectorRegistry, clock: Clock) -> ConnectionState:
    return ConnectionState("stream", ConnectionMetrics(registry), clock=clock)


def series(registry: CollectorRegistry) -> tuple[float | None, float | None]:
    labels = {"dependency": "stream"}
    return (
        registry.get_sample_value("delegator_connection_up", labels),
        registry.get_sample_value("delegator_connection_lost_total", labels),
    )


def test_changes(state: ConnectionState, registry: CollectorRegistry, clock: Clock, caplog: pytest.LogCaptureFixture):
    """Each change of the state is logged once and counted."""
    caplog.set_level(logging.INFO)
    assert series(registry) == (0, 0)
    assert state.problem() == "has not answered yet"
    for _ in range(3):
        state.restored()
    assert series(registry) == (1, 0)
    assert state.problem() is None
    for reason in ("refused", "refused", "silent"):
        state.lost(reason)
    assert series(registry) == (0, 1)
    assert (state.up, state.problem()) == (False, "silent")
    clock.now += 2.5
    state.restored()
    state.restored()
    assert series(registry) == (1, 1)
    assert [record.message for record in caplog.records] == ["connection_up", "connection_lost", "connection_restored"]
    assert vars(caplog.records[1])["reason"] == "refused"
    assert vars(caplog.records[2])["seconds"] == 2.5


def test_refused_after_outage(state: ConnectionState, caplog: pytest.LogCaptureFixture):
    """A refusal, which only a person can fix, is logged once, even though the server was away before."""
    for reason, refused in (("away", False), ("wrong token", True), ("away", False), ("wrong token", True)):
        state.lost(reason, refused=refused)
    assert [record.message for record in caplog.records] == ["connection_failed", "connection_refused"]
    assert vars(caplog.records[1])["reason"] == "wrong token"
    state.restored()
    state.lost("wrong token", refused=True)
    assert [record.message for record in caplog.records][2:] == ["connection_lost"]


def test_never_connected(
    state: ConnectionState, registry: CollectorRegistry, clock: Clock, caplog: pytest.LogCaptureFixture
):
    """A server that was never reached is logged once, and does not count as a lost connection."""
    caplog.set_level(logging.INFO)
    state.lost("refused")
    state.lost("refused")
    clock.now += 1
    state.restored()
    assert series(registry) == (1, 0)
    assert [record.message for record in caplog.records] == ["connection_failed", "connection_restored"]


def test_shared_connection(state: ConnectionState):
    """A dependency of several loops is up while it works for all of them, or they ended."""
    shared = SharedConnection(state)
    one, other = shared.part("one"), shared.part("other")
    one.restored()
    assert state.problem() is None
    one.lost("first")
    other.lost("second")
    other.restored()
    assert state.problem() == "first"
    one.restored()
    assert state.problem() is None
    other.lost("third")
    other.forget()
    assert state.problem() == "third"
    one.restored()
    assert state.problem() is None


def test_calls() -> None:
    """A call is counted with the status of its answer; one that was cancelled is not counted."""
    registry = CollectorRegistry()
    state = ConnectionState("temporal", ConnectionMetrics(registry))

    def call(error: BaseException | None) -> None:
        with suppress(BaseException), state.timed("Signal"):
            if error is not None:
                raise error

    refused = RPCError("no", RPCStatusCode.RESOURCE_EXHAUSTED, b"")
    for error in (None, None, refused, TimeoutError(), ValueError("of a codec"), asyncio.CancelledError()):
        call(error)
    (family,) = (family for family in registry.collect() if family.name == "delegator_call_seconds")
    counts = {sample.labels["status"]: sample.value for sample in family.samples if sample.name.endswith("_count")}
    assert counts == {"OK": 2, "RESOURCE_EXHAUSTED": 1, "TIMEOUT": 1, "ERROR": 1}
