"""Liveness, and the health server, which answers while the event loop that it watches is blocked."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from delegator.errors import ConfigurationError
from delegator.runtime.health import HealthServer, LocalHealth
from delegator.runtime.liveness import Liveness, Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def get(port: int | None, route: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{route}", timeout=60) as response:
            status, body = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read()
    return status, body.decode() if route == "/metrics" else json.loads(body)


@pytest.fixture
def liveness() -> Liveness:
    return Liveness()


@pytest.fixture
def problems() -> dict[str, str | None]:
    return {"stream": None, "postgresql": None}


@pytest.fixture
def server(liveness: Liveness, problems: dict[str, str | None]) -> Iterator[HealthServer]:
    registry = CollectorRegistry()
    Counter("delegator_jobs_total", "Jobs", registry=registry).inc(3)
    checks = {name: lambda name=name: problems[name] for name in problems}
    with HealthServer(LocalHealth(registry, liveness, checks)) as server:
        yield server


def test_progress():
    """Progress that is older than its limit counts as stalled."""
    clock = Clock()
    progress = Progress(timedelta(seconds=10), clock)
    clock.now = 10
    assert progress.stalled() is None
    clock.now = 11
    assert progress.stalled() == 11
    progress.mark()
    assert progress.stalled() is None


def test_suspended_progress():
    """Progress that is suspended does not stall, and its limit begins again afterwards."""
    clock = Clock()
    progress = Progress(timedelta(seconds=10), clock)
    with progress.suspended():
        clock.now = 1000
        assert progress.stalled() is None
    clock.now = 1009
    assert progress.stalled() is None
    clock.now = 1011
    assert progress.stalled() == 11


def test_end_of_watch():
    """Progress that is no longer watched can't stall."""
    clock = Clock()
    liveness = Liveness(clock)
    with liveness.watch("receive", timedelta(seconds=1)):
        clock.now = 5
        assert liveness.stalled() == {"receive": "no progress for 5 s"}
    assert liveness.stalled() == {}


def test_metrics(server: HealthServer):
    """/metrics holds the series of the given registry only."""
    status, body = get(server.port, "/metrics")
    assert status == 200
    assert "delegator_jobs_total 3.0" in body
    assert "python_info" not in body


def test_readyz(server: HealthServer, problems: dict[str, str | None]):
    """/readyz names every dependency and those that are missing."""
    assert get(server.port, "/readyz") == (
        200,
        {"ready": True, "missing": [], "dependencies": {"stream": None, "postgresql": None}},
    )
    problems["stream"] = "refused"
    assert get(server.port, "/readyz") == (
        503,
        {"ready": False, "missing": ["stream"], "dependencies": {"stream": "refused", "postgresql": None}},
    )


async def test_livez_event_loop(server: HealthServer, liveness: Liveness):
    """/livez fails while the event loop is blocked, and succeeds again afterwards."""
    live = (200, {"live": True, "stalled": {}})
    blocked: list[tuple[int, Any]] = []

    def ask_until_blocked() -> None:
        while (answer := get(server.port, "/livez")) == live:
            time.sleep(0.05)
        blocked.append(answer)

    async def is_live() -> None:
        async with asyncio.timeout(60):
            while await asyncio.to_thread(get, server.port, "/livez") != live:
                await asyncio.sleep(0.05)

    async with liveness.watch_event_loop(timedelta(milliseconds=500)):
        await is_live()
        asker = threading.Thread(target=ask_until_blocked, daemon=True)
        asker.start()
        asker.join(60)  # blocks the loop on purpose
        await is_live()
    ((status, body),) = blocked
    assert (status, body["stalled"].keys()) == (503, {"event_loop"})


async def test_livez_stalled_loop(server: HealthServer, liveness: Liveness):
    """/livez fails while a watched loop makes no progress, although the event loop runs."""
    async with liveness.watch_event_loop(timedelta(seconds=5)):
        with liveness.watch("receive", timedelta(milliseconds=100)) as progress:
            await asyncio.sleep(0.2)
            status, body = await asyncio.to_thread(get, server.port, "/livez")
            assert (status, list(body["stalled"])) == (503, ["receive"])
            progress.mark()
            assert (await asyncio.to_thread(get, server.port, "/livez"))[0] == 200


def test_taken_port():
    """A port that another program uses is refused, with the option that changes it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = HealthServer(LocalHealth(CollectorRegistry(), Liveness(), {}), port=port)
        with pytest.raises(ConfigurationError, match=rf"port {port} on 127\.0\.0\.1 is taken.*--port"), server:
            pass


def test_unknown_host():
    """An unknown host is refused with the name of its option."""
    server = HealthServer(LocalHealth(CollectorRegistry(), Liveness(), {}), host="no-such-host.invalid", port=1)
    with pytest.raises(ConfigurationError, match="--host"), server:
        pass


async def test_unix_socket(tmp_path: Path):
    """The server answers on a Unix socket, and removes its file at the end."""
    path = tmp_path / "h.sock"
    with HealthServer(LocalHealth(CollectorRegistry(), Liveness(), {}), path=path) as server:
        assert server.port is None
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.get("http://worker/livez") as response,
        ):
            assert response.status == 200
    assert not path.exists()


def test_close():
    """The server closes its port and ends its thread."""
    with HealthServer(LocalHealth(CollectorRegistry(), Liveness(), {})) as server:
        port = server.port
        assert port
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert "health" not in [thread.name for thread in threading.enumerate()]
