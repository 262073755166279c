"""The profile `relay` in real containers. `make docker-test` runs this file; `make test` does not, it needs an engine.

The tests run in the order of the file, on one deployment: it is started, used, scaled, hurt and removed.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from temporalio.api.common.v1 import Payloads

from tests.support.pages import blocks

ROOT = Path(__file__).parents[2]
PROJECT = "delegator-docker-test"
# No stand-in for these two can be made of packages. The UI and Grafana are looked at by the tests of their files only.
LEFT_OUT = {"temporal-ui", "grafana"}
LONG_RUNNING = {"postgres", "temporal", "relay", "serve", "http-worker", "worker", "codec-server", "prometheus"}
OURS = {"relay", "serve", "http-worker", "worker", "codec-server"}
PORTS = ("POSTGRES_PORT", "TEMPORAL_PORT", "STREAM_PORT", "CODEC_PORT", "PROMETHEUS_PORT")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Deployment:
    """One Compose project, driven by the make targets that the documentation names."""

    def __init__(self) -> None:
        self.ports = {name: free_port() for name in PORTS}
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": PROJECT,
            **{name: str(port) for name, port in self.ports.items()},
        }

    def run(self, *command: str, check: bool = True, seconds: float = 900, **environment: str) -> str:
        """Run a command in the checkout, and return what it wrote to standard output."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def make(self, *words: str, **environment: str) -> str:
        return self.run("make", "--no-print-directory", "PROFILE=relay", *words, **environment)

    def compose(self, *words: str, check: bool = True) -> str:
        return self.run("docker", "compose", "--file", "docker/compose.yaml", "--profile", "relay", *words, check=check)

    def up(self, **environment: str) -> None:
        self.make("up", f"SERVICES={' '.join(sorted(LONG_RUNNING))}", **environment)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        return self.compose("ps", "--quiet", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("docker", "inspect", container))[0]
        return found

    def order(self, count: int) -> dict[str, Any]:
        """Run the sample's workflow, and return its bill."""
        bill: dict[str, Any] = json.loads(self.compose("exec", "-T", "worker", "python", "start.py", str(count)))
        return bill

    def start_order(self, count: int, seconds: float) -> subprocess.Popen[str]:
        """Begin a workflow whose jobs take so long, and do not wait for it."""
        command = ["docker", "compose", "--file", "docker/compose.yaml", "exec", "-T", "worker", "python", "start.py"]
        return subprocess.Popen(
            [*command, str(count), str(seconds)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sql(self, statement: str) -> str:
        return self.compose(
            *("exec", "-T", "postgres", "psql", "--username=postgres", "--dbname=delegator"),
            *("--no-align", "--tuples-only", "--command", statement),
        ).strip()

    def prometheus(self, expression: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}/api/v1/query?query={quote(expression)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result

    def kill(self, container: str) -> None:
        """End all processes of a container with SIGKILL, as the kernel does when memory runs out."""
        pid = self.inspect(container)["State"]["Pid"]
        try:
            os.kill(pid, signal.SIGKILL)
        except PermissionError:
            self.run("sudo", "--non-interactive", "kill", "-KILL", str(pid))

    def left(self, kind: str) -> list[str]:
        """Return what is left of the project: containers, networks or volumes."""
        every = ["--all"] if kind == "container" else []
        label = f"label=com.docker.compose.project={PROJECT}"
        return self.run("docker", kind, "ls", *every, "--quiet", "--filter", label).split()


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)


def cents(orders: int) -> int:
    return sum(order * 3 for order in range(orders))


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    one = Deployment()
    try:
        yield one
    finally:
        print(one.compose("logs", "--no-color", "--tail", "15", check=False))
        one.run("make", "down", "DATA=delete", check=False)


def test_up(deployment: Deployment) -> None:
    """One command builds the image, migrates, and starts everything; it returns when all are ready."""
    deployment.up()
    for service in LONG_RUNNING:
        states = [deployment.inspect(container)["State"] for container in deployment.containers(service)]
        assert states, service
        assert {state["Health"]["Status"] for state in states} == {"healthy"}, service
    assert len(deployment.containers("serve")) == 2
    jobs = json.loads(
        "[" + ",".join(deployment.compose("ps", "--all", "--format", "json").split("\n")).strip(",") + "]"
    )
    ended = {job["Service"]: job["ExitCode"] for job in jobs if job["State"] == "exited"}
    assert ended == {"migrate": 0, "temporal-schema": 0, "temporal-namespace": 0}


def test_containers_are_confined(deployment: Deployment) -> None:
    """Our containers run without root, on a read-only file system, without capabilities, below a limit of memory."""
    for service in OURS:
        (container, *_) = deployment.containers(service)
        found = deployment.inspect(container)
        host = found["HostConfig"]
        assert found["Config"]["User"] == "10001:10001", service
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["Memory"] > 0
        assert deployment.run("docker", "exec", container, "id", "-u").strip() == "10001"
        write = "touch /opt/delegator/x 2>/dev/null || echo refused"
        assert deployment.run("docker", "exec", container, "sh", "-c", write) == "refused\n"
    labels = deployment.inspect(deployment.containers("relay")[0])["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "temporal-delegator"


def test_database(deployment: Deployment) -> None:
    """The migration ran as the owner, who is no superuser; the slots are bounded; each program has its own role."""
    assert deployment.sql("SHOW wal_level") == "logical"
    assert deployment.sql("SHOW max_slot_wal_keep_size") == "8GB"
    assert deployment.sql("SHOW fsync") == "on"
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'custom_task_queue_orders'"
    assert deployment.sql(owner) == "delegator_owner"
    assert deployment.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'delegator_owner'") == "f"
    assert deployment.sql("SELECT count(*) FROM pg_replication_slots WHERE active") == "2"
    used = (
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'delegator' AND usename <> 'postgres' ORDER BY 1"
    )
    logins = ("http_worker", "relay", "serve", "worker")
    assert deployment.sql(used).split() == [f"delegator_login_{name}" for name in logins]


def test_jobs_flow(deployment: Deployment) -> None:
    bill = deployment.order(200)
    assert (bill["orders"], bill["cents"], len(bill["workers"])) == (200, cents(200), 1)


def test_payloads_are_encrypted(deployment: Deployment) -> None:
    """A waiting job holds nothing readable, and the codec server decodes it for who has the token."""
    order = deployment.start_order(1_500, 3)
    waiting = "SELECT encode(input, 'base64') FROM custom_task_queue_orders WHERE lease_id IS NULL LIMIT 1"
    found: list[str] = []
    until(lambda: (found.append(deployment.sql(waiting)), found[-1] != "")[1], "jobs wait")
    stored = base64.b64decode(found[-1])
    assert b"binary/encrypted" in stored and b"number" not in stored
    _, errors = order.communicate(timeout=300)
    assert order.returncode == 0, errors
    secrets = dict(line.split("=", 1) for line in (ROOT / "docker/secrets/codec-server.env").read_text().splitlines())
    body = MessageToJson(Payloads.FromString(stored)).encode()
    url = f"http://127.0.0.1:{deployment.ports['CODEC_PORT']}/decode"
    for token, status in (("wrong", 401), (secrets["DELEGATOR_CODEC_TOKEN"], 200)):
        request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                (payload,) = Parse(answer.read(), Payloads()).payloads
                assert status == 200 and b'"number"' in payload.data
        except urllib.error.HTTPError as error:
            assert error.code == status


def test_scale(deployment: Deployment) -> None:
    """Three containers of http-worker share the jobs, and Prometheus finds each of them."""
    deployment.up(HTTP_WORKERS="3")
    assert len(deployment.containers("http-worker")) == 3
    until(lambda: len(deployment.prometheus('up{job="http-worker"} == 1')) == 3, "Prometheus scrapes three workers")
    bill = deployment.order(3_000)
    assert (bill["orders"], bill["cents"], len(bill["workers"])) == (3_000, cents(3_000), 3)


def test_monitoring(deployment: Deployment) -> None:
    """Each target answers, the rules are loaded, and the expressions of the dashboard have samples."""
    deployment.compose("exec", "-T", "prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    down = [sample["metric"] for sample in deployment.prometheus("up == 0")]
    assert down == []
    jobs = {sample["metric"]["job"] for sample in deployment.prometheus("up")}
    assert jobs == {"relay", "serve", "http-worker", "worker", "worker-sdk", "temporal"}
    assert deployment.prometheus("sum(delegator_maintenance_leader)")[0]["value"][1] == "1"
    panels = json.loads((ROOT / "docker/grafana/dashboards/delegator.json").read_text())["panels"]
    # What counts rare events has no sample before the first of them.
    rare = ("republished", "lost_attempts", "dead_letters", "snoozed", "refused", "timed_out")
    for panel in panels:
        for target in panel.get("targets", []):
            if not any(word in target["expr"] for word in rare):
                assert deployment.prometheus(target["expr"]), f"{panel['title']}: {target['expr']}"


def test_kill_a_worker(deployment: Deployment) -> None:
    """kill -9 of a worker's container in mid-work: its jobs run elsewhere, and the container comes back."""
    order = deployment.start_order(1_500, 3)
    leased = "SELECT count(*) FROM custom_task_queue_orders WHERE lease_id IS NOT NULL"
    until(lambda: int(deployment.sql(leased)) > 100, "jobs run")
    (victim, *_) = deployment.containers("http-worker")
    deployment.kill(victim)
    said, errors = order.communicate(timeout=300)
    assert order.returncode == 0, errors
    assert (json.loads(said)["orders"], json.loads(said)["cents"]) == (1_500, cents(1_500))
    assert deployment.inspect(victim)["RestartCount"] == 1
    until(lambda: deployment.inspect(victim)["State"]["Health"]["Status"] == "healthy", "the worker is back")


def test_kill_the_relay(deployment: Deployment) -> None:
    """The same with the relay: what it had not delivered is delivered by the one that starts again."""
    order = deployment.start_order(1_500, 3)
    waiting = "SELECT count(*) FROM custom_task_queue_orders WHERE lease_id IS NULL"
    until(lambda: int(deployment.sql(waiting)) > 100, "jobs wait")
    (relay,) = deployment.containers("relay")
    deployment.kill(relay)
    said, errors = order.communicate(timeout=300)
    assert order.returncode == 0, errors
    assert json.loads(said)["cents"] == cents(1_500)
    until(lambda: deployment.inspect(relay)["State"]["Health"]["Status"] == "healthy", "the relay is back")


def test_kill_the_leader(deployment: Deployment) -> None:
    """The same with the leader of the maintenance: the other process leads."""
    (leading,) = deployment.prometheus("delegator_maintenance_leader == 1")
    address = leading["metric"]["instance"].split(":")[0]
    for container in deployment.containers("serve"):
        networks = deployment.inspect(container)["NetworkSettings"]["Networks"]
        if address in {network["IPAddress"] for network in networks.values()}:
            deployment.kill(container)
    until(lambda: len(deployment.prometheus("delegator_maintenance_leader == 1")) == 1, "one process leads")
    assert deployment.order(200)["cents"] == cents(200)


def test_load_test(deployment: Deployment) -> None:
    """The load test runs beside the workers, and completes all of its work."""
    command = "python -m loadtest compare --scenario fanout --workflows 4 --jobs 50 --rounds 1 --shared --json -"
    services = f"SERVICES={' '.join(sorted(LONG_RUNNING))}"
    said = deployment.make("up-loadtest", services, f"ARGS={command}", HTTP_WORKERS="3")
    arms = json.loads(said[said.index("{") :])["arms"]
    assert {name: (run["completed"], run["failed"]) for name, run in arms.items()} == {
        "classic": (4, 0),
        "delegated": (4, 0),
    }


def test_nothing_is_lost(deployment: Deployment) -> None:
    """After all of it no job is left, and none was given up."""
    left = "SELECT (SELECT count(*) FROM custom_task_queue) + (SELECT count(*) FROM custom_task_queue_orders)"
    until(lambda: deployment.sql(left) == "0", "all rows are gone")
    letters = deployment.compose("exec", "-T", "serve", "delegator", "dlq", "list", "--json")
    assert json.loads(letters or "[]") == []


def test_no_secret_is_shown(deployment: Deployment) -> None:
    """No log of ours, and no image, holds a password or token."""
    logs = deployment.compose("logs", "--no-color", *sorted(OURS), "migrate")
    image = deployment.run("docker", "history", "--no-trunc", "temporal-delegator:local")
    values = [
        line.split("=", 1)[1].rsplit("@")[0].rsplit(":")[-1]
        for file in (ROOT / "docker/secrets").glob("*.env")
        for line in file.read_text().splitlines()
    ]
    assert len(values) > 10
    assert len(logs.splitlines()) > 10
    for value in values:
        assert value not in logs
        assert value not in image


def test_stop(deployment: Deployment) -> None:
    """SIGTERM ends each of our programs well before Docker loses patience."""
    containers = [container for service in OURS for container in deployment.containers(service)]
    deployment.compose("stop", *sorted(OURS))
    assert {deployment.inspect(container)["State"]["ExitCode"] for container in containers} == {0}


@pytest.mark.parametrize("page", ["deploy.md", "scale.md"])
def test_page(deployment: Deployment, page: str) -> None:
    """The commands of the page work as they stand, in their order."""
    run = [block for block in blocks(ROOT / "docs/operating" / page) if block.run == "containers"]
    assert run
    for block in run:
        deployment.run("bash", "-euc", block.code, SERVICES=" ".join(sorted(LONG_RUNNING)))


def test_down(deployment: Deployment) -> None:
    """`make down` leaves the data and nothing else; with DATA=delete it leaves nothing."""
    deployment.make("down")
    assert (deployment.left("container"), deployment.left("network")) == ([], [])
    assert deployment.left("volume") != []
    deployment.make("down", "DATA=delete")
    assert deployment.left("volume") == []
