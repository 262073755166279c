"""`http-worker --via` through faults of the gateway and of the network, and in the conformance suite."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from delegator.gateway.conformance.run import check_worker
from tests.integration.delegator.environment import Environment
from tests.integration.gateway.gateway_flows import Many, Tells
from tests.integration.gateway.support import (
    OWN,
    RunningGateway,
    free_port,
    gateway_process,
    running_gateway,
    via,
)
from tests.support.links import link

OUTLIVES = {"DELEGATOR_LEASE": "PT60S"}
"""Of a worker whose jobs outlive a gateway."""
CHECKED = ("failure", "lost", "unavailable", "stop")
"""All checks take several times as long."""
TOKEN = "for-the-pool-12345"


async def test_killed_gateway(engine: Environment, task_queue: str) -> None:
    """A gateway is killed amid jobs and started again: all results arrive, and no job that was running runs twice."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    async with gateway_process(engine, "--port", port) as gateway, via(engine, url, **OUTLIVES):
        handle = await engine.start(Many.run, "works", 20, task_queue=task_queue)
        await engine.noted(handle.id, "started", 20)
        gateway.process.kill()
        await gateway.process.wait()
        async with gateway_process(engine, "--port", port):
            assert await engine.result(handle) == [1] * 20
    assert sorted(engine.ledger(handle.id)) == [("done", 1)] * 20 + [("started", 1)] * 20


async def test_short_cut(engine: Environment, gateway: RunningGateway, task_queue: str) -> None:
    """The network is cut for less than a lease: handlers run on, and each job runs once."""
    async with link(gateway.url) as network, via(engine, network.url, **OUTLIVES):
        handle = await engine.start(Many.run, "works", 20, task_queue=task_queue)
        await engine.noted(handle.id, "started", 20)
        network.cut()
        await engine.noted(handle.id, "done", 20)
        network.mend()
        assert await engine.result(handle) == [1] * 20
    assert len(engine.ledger(handle.id)) == 40


async def test_long_cut(engine: Environment, gateway: RunningGateway, task_queue: str) -> None:
    """The network is cut for longer than a lease: the worker stops its handlers, and each job's next attempt counts."""
    async with link(gateway.url) as network, via(engine, network.url):
        handle = await engine.start(Tells.run, "works_once_told", [], {}, task_queue=task_queue)
        await engine.noted(handle.id, "started")
        network.cut()
        await engine.noted(handle.id, "stopped")
        network.mend()
        assert await engine.result(handle) == 2
    assert engine.ledger(handle.id) == [("started", 1), ("stopped", 1), ("started", 2)]


async def test_conformance(engine: Environment, gateway: RunningGateway) -> None:
    """It passes the suite for workers in any language."""
    start = (
        "import os, sys; os.environ['DELEGATOR_GATEWAY_TOKEN'] = os.environ['GATEWAY_TOKEN'] or 'none';"
        f"os.execv(sys.executable, [sys.executable, '-m', 'http_workers', '--import', {OWN!r}, '--grace', '3',"
        " '--queue', os.environ['GATEWAY_QUEUE'], '--via', os.environ['GATEWAY_URL']])"
    )
    found = await check_worker(gateway.url, [sys.executable, "-c", start], engine.settings, "default", only=CHECKED)
    assert found == dict.fromkeys(CHECKED)


async def test_token(engine: Environment, task_queue: str, tmp_path: Path) -> None:
    """A worker whose token the gateway refuses does not start; with the right one in a file it does."""
    known, mine = tmp_path / "tokens", tmp_path / "token"
    known.write_text(f"{TOKEN} queues=default\n")
    mine.write_text(f"{TOKEN}\n")
    async with running_gateway(engine, token_file=known) as gateway:
        with pytest.raises(AssertionError, match="refuses the token: set DELEGATOR_GATEWAY_TOKEN or"):
            async with via(engine, gateway.url, DELEGATOR_GATEWAY_TOKEN="another-12345"):
                pass
        async with via(engine, gateway.url, DELEGATOR_GATEWAY_TOKEN_FILE=str(mine)):
            assert await engine.execute(Tells.run, "double", [2], {}, task_queue=task_queue) == 4
