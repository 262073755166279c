"""Several real processes under a supervisor, with a stand-in for the pool."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

SUPERVISOR = """
import asyncio, sys
from datetime import timedelta
from delegator.errors import DelegatorError
from delegator.runtime.logs import configure_logging
from http_workers.options import WorkerOptions
from http_workers.supervisor import supervise
processes, port, grace, child, mode = sys.argv[1:]
configure_logging()
options = WorkerOptions(
    modules=("tasks",), processes=int(processes), port=int(port), grace=timedelta(seconds=float(grace))
)
try:
    sys.exit(0 if asyncio.run(supervise(options, [sys.executable, child, mode])) else 1)
except DelegatorError as error:
    sys.exit(f"refused: {error}")
"""

CHILD = """
import argparse, asyncio, os, signal, sys, time
from datetime import timedelta
from pathlib import Path
from prometheus_client import CollectorRegistry, Counter
from delegator.runtime.liveness import Liveness
from delegator.runtime.health import HealthServer, LocalHealth
from delegator.runtime.shutdown import shutdown_signals
from http_workers.supervisor import ChildArguments, die_with_supervisor

parser = argparse.ArgumentParser()
parser.add_argument("mode")
parser.add_argument("--process-index", type=int)
parser.add_argument("--supervisor-directory", type=Path)
parser.add_argument("--supervisor-pid", type=int)
given = parser.parse_args()
die_with_supervisor(given.supervisor_pid)
place = ChildArguments(index=given.process_index, directory=given.supervisor_directory, supervisor=given.supervisor_pid)
if given.mode == "refuse":
    place.refusal.write_text("wrong token")
    sys.exit(2)
if given.mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(__file__).with_suffix(f".{place.index}").touch()
    while True:
        time.sleep(1)

async def main():
    registry, liveness = CollectorRegistry(), Liveness()
    Counter("delegator_jobs_total", "Jobs", ["outcome"], registry=registry).labels("completed").inc(10 + place.index)
    problem = "refused" if given.mode == "unready" and place.index == 1 else None
    health = LocalHealth(registry, liveness, {"stream": lambda: problem})
    async with shutdown_signals() as stop, liveness.watch_event_loop(timedelta(seconds=2)):
        with HealthServer(health, path=place.socket):
            if given.mode == "blocked" and place.index == 1:
                await asyncio.sleep(0.5)
                time.sleep(600)
            await stop.requested.wait()
            if given.mode == "slow":
                await asyncio.sleep(600)
asyncio.run(main())
"""


class Supervised:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def get(self, route: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{route}", timeout=60) as response:
                status, body = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read().decode()
        except OSError:
            return 0, None
        return status, body if route == "/metrics" else json.loads(body)

    def stopped(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def child(tmp_path: Path) -> Path:
    path = tmp_path / "child.py"
    path.write_text(CHILD)
    return path


@contextmanager
def supervised(child: Path, mode: str = "good", processes: int = 2, grace: float = 5) -> Iterator[Supervised]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = [str(processes), str(port), str(grace), str(child), mode]
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Supervised(process, port)
        finally:
            process.kill()


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def ready(it: Supervised) -> bool:
    return it.get("/readyz")[0] == 200


def gone(children: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children)


def test_one_port(child: Path):
    """One port answers for all child processes, with the sum of their metrics."""
    with supervised(child, processes=3) as it:
        eventually(lambda: ready(it))
        assert it.get("/livez") == (200, {"live": True, "stalled": {}})
        _, metrics = it.get("/metrics")
        for index in range(3):
            assert f'delegator_jobs_total{{outcome="completed",process="{index}"}} {10.0 + index}' in metrics
        assert metrics.count("# TYPE delegator_jobs_total counter") == 1
        assert "delegator_worker_processes 3.0" in metrics
        children = it.children()
        it.process.send_signal(signal.SIGTERM)
        assert it.stopped()[0] == 0
        assert gone(children)


def test_a_child_that_is_not_ready_is_named(child: Path):
    with supervised(child, "unready") as it:
        eventually(lambda: (it.get("/readyz")[1] or {}).get("missing") == ["stream"])
        assert it.get("/readyz")[1]["dependencies"] == {"stream": "process 1: refused"}


def test_livez_blocked_child(child: Path):
    """/livez fails while a child's event loop is blocked, and names the child."""
    with supervised(child, "blocked") as it:
        eventually(lambda: it.get("/livez")[0] == 503)
        assert list(it.get("/livez")[1]["stalled"]) == ["process 1: event_loop"]


def test_a_killed_child_is_replaced(child: Path):
    with supervised(child) as it:
        eventually(lambda: ready(it))
        before = it.children()
        before[0].kill()
        eventually(lambda: len(it.children()) == 2 and it.children() != before)
        eventually(lambda: ready(it))
        assert "delegator_worker_restarts_total 1.0" in it.get("/metrics")[1]
        it.process.send_signal(signal.SIGTERM)
        status, errors = it.stopped()
        assert status == 0
        assert re.search(r"worker_process_ended worker=\d status=-9", errors)


def test_children_die_with_their_supervisor(child: Path):
    with supervised(child) as it:
        eventually(lambda: ready(it))
        children = it.children()
        it.process.kill()
        eventually(lambda: gone(children))


def test_a_second_signal_does_not_wait(child: Path):
    with supervised(child, "slow", grace=600) as it:
        eventually(lambda: ready(it))
        children = it.children()
        it.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            it.process.wait(0.5)
        it.process.send_signal(signal.SIGTERM)
        assert it.process.wait(60) == 1
        assert gone(children)


def test_stubborn_child(child: Path):
    """A child that does not stop is killed after the grace period."""
    with supervised(child, "stubborn", grace=0) as it:
        eventually(lambda: all(child.with_suffix(f".{index}").exists() for index in range(2)))
        children = it.children()
        it.process.send_signal(signal.SIGTERM)
        status, errors = it.stopped()
        assert status == 1
        assert "worker_processes_did_not_stop" in errors
        assert gone(children)


def test_failed_start(child: Path):
    """An error at the start that each child has is printed once."""
    with supervised(child, "refuse") as it:
        status, errors = it.stopped()
    assert (status, errors) == (1, "refused: wrong token\n")


def test_directory_is_removed(child: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The supervisor's directory is removed at the end."""
    private = tmp_path / "t"
    private.mkdir()
    monkeypatch.setenv("TMPDIR", str(private))
    with supervised(child) as it:
        eventually(lambda: ready(it))
        assert list(private.iterdir())
        it.process.send_signal(signal.SIGTERM)
        assert it.stopped()[0] == 0
    assert not list(private.iterdir())
