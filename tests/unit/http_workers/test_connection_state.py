from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState


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


def test_each_change_is_logged_once_and_measured(
    state: ConnectionState, registry: CollectorRegistry, clock: Clock, caplog: pytest.LogCaptureFixture
):
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


def test_a_refusal_after_an_absence(state: ConnectionState, caplog: pytest.LogCaptureFixture):
    """What only a person can mend is logged once, even though the server was away before."""
    for reason, refused in (("away", False), ("wrong token", True), ("away", False), ("wrong token", True)):
        state.lost(reason, refused=refused)
    assert [record.message for record in caplog.records] == ["connection_failed", "connection_refused"]
    assert vars(caplog.records[1])["reason"] == "wrong token"
    state.restored()
    state.lost("wrong token", refused=True)
    assert [record.message for record in caplog.records][2:] == ["connection_lost"]


def test_a_server_that_was_never_there_is_said_once_and_is_no_loss(
    state: ConnectionState, registry: CollectorRegistry, clock: Clock, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    state.lost("refused")
    state.lost("refused")
    clock.now += 1
    state.restored()
    assert series(registry) == (1, 0)
    assert [record.message for record in caplog.records] == ["connection_failed", "connection_restored"]
