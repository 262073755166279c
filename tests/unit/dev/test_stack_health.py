"""The health of a stack, with a stand-in for the stack and a real health server for its relay."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from delegator.dev.health import StackHealth
from delegator.runtime.health import HealthServer, LocalHealth
from delegator.runtime.liveness import Liveness


def stack_with(running: Mapping[str, int], relay_url: str) -> Any:
    logs = dict.fromkeys(("postgres", "temporal", "relay"))
    return SimpleNamespace(pids=running, logs=logs, program_urls={"relay": relay_url})


async def test_a_stack_that_starts() -> None:
    assert await StackHealth().problems() == {"stack": "is starting"}


async def test_components() -> None:
    """A dead server is named, and so is what the relay lacks."""
    problem: list[str | None] = ["away"]
    relay = LocalHealth(CollectorRegistry(), Liveness(), {"postgresql": lambda: problem[0]})
    with HealthServer(relay) as server:
        url = f"http://127.0.0.1:{server.port}"
        health = StackHealth()
        health.stack = stack_with({"temporal": 2, "relay": 3}, url)
        assert await health.problems() == {
            "postgres": "is not running",
            "temporal": None,
            "relay": "is not ready: postgresql",
        }
        metrics = (await health.metrics()).decode()
        assert 'delegator_stack_component_up{component="postgres"} 0.0' in metrics
        assert 'delegator_stack_component_up{component="relay"} 1.0' in metrics
        problem[0] = None
        health.stack = stack_with({"postgres": 1, "temporal": 2, "relay": 3}, url)
        assert set((await health.problems()).values()) == {None}
    assert (await health.problems())["relay"] == "does not answer"
