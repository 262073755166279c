"""`delegator dev`, as a user runs it."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import sysconfig
from base64 import b64decode
from pathlib import Path

import aiohttp
import psutil
import psycopg
import pytest
from temporalio.client import Client

from delegator.dev.accounts import can_enter, can_run
from delegator.dev.processes import Account
from tests.formats.folders import CURRENT_FRAMES, folder
from tests.integration.dev.support import ROOT, assert_gone, delegator_dev


async def test_ctrl_c() -> None:
    """The stack answers, its pages too; Ctrl-C ends every process and deletes the data."""
    async with delegator_dev(headless=False) as dev:
        family = dev.family()
        assert set(dev.report["pids"].values()) <= {process.pid for process in family}
        assert {"postgres", "temporal", "relay"} <= set(dev.report["pids"])
        await Client.connect(dev.report["environment"]["TEMPORAL_ADDRESS"])
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            form = {"token": dev.report["ui_token"], "name": "Ada", "next": "/queues"}
            async with session.post(f"{dev.report['ui_url']}/login", data=form) as page:
                assert (page.status, "default" in await page.text()) == (200, True)
            await assert_shows_outcomes(session, dev.report["temporal_ui_url"], dev.report["codec_url"])
        code, err = await dev.end(signal.SIGINT)
        assert code == 0
        assert [line.split()[3] for line in err.splitlines()][-2:] == ["stack_stopping", "stack_stopped"]
        assert all(line.split()[1] == "info" for line in err.splitlines())
        await assert_gone(family)
        assert not Path(dev.report["directory"]).exists()


async def assert_shows_outcomes(session: aiohttp.ClientSession, ui: str, codec_server: str) -> None:
    """Temporal's UI asks the codec server, which shows outcomes of jobs to the UI's page as JSON."""
    async with session.get(f"{ui}/api/v1/settings") as answer:
        assert (await answer.json())["Codec"]["Endpoint"] == codec_server
    history = json.loads((folder(CURRENT_FRAMES, "histories") / "failure-signal.json").read_text())
    (signalled,) = (event for event in history["events"] if "workflowExecutionSignaledEventAttributes" in event)
    body = signalled["workflowExecutionSignaledEventAttributes"]["input"]
    async with session.post(f"{codec_server}/decode", json=body, headers={"Origin": ui}) as answer:
        (shown,) = (await answer.json())["payloads"]
        assert answer.headers["Access-Control-Allow-Origin"] == ui
    assert json.loads(b64decode(shown["data"]))["statuses"] == {"failed": 1}


async def test_kill_9() -> None:
    """A stack that is killed with SIGKILL leaves no process running."""
    async with delegator_dev() as dev:
        family = dev.family()
        await dev.end(signal.SIGKILL)
        await assert_gone(family)
        shutil.rmtree(dev.report["directory"])


async def test_two_stacks() -> None:
    """Two stacks at once have ports and data of their own."""
    async with delegator_dev() as one, delegator_dev() as two:
        ports = [set(_ports(dev.report["environment"])) for dev in (one, two)]
        assert ports[0].isdisjoint(ports[1])
        for dev in (one, two):
            async with await psycopg.AsyncConnection.connect(dev.report["environment"]["DELEGATOR_DATABASE_URL"]) as c:
                row = await (await c.execute("SHOW data_directory")).fetchone()
                assert row is not None
                assert row[0].startswith(dev.report["directory"])
        assert (await one.end(signal.SIGINT))[0] == (await two.end(signal.SIGTERM))[0] == 0


async def test_taken_ports() -> None:
    """The stack takes other ports when the usual ones are in use."""
    with contextlib.ExitStack() as held:
        for port in (54320, 7233, 7376):
            with contextlib.suppress(OSError):
                held.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", port))))
        async with delegator_dev() as dev:
            assert not {54320, 7233, 7376} & set(_ports(dev.report["environment"]))
            assert (await dev.end(signal.SIGINT))[0] == 0


async def test_component_dies() -> None:
    """A component that dies ends the stack, with an error that names it."""
    async with delegator_dev() as dev:
        family = dev.family()
        os.kill(dev.report["pids"]["temporal"], signal.SIGKILL)
        code, err = await dev.wait()
        assert code == 1
        assert "temporal ended (signal SIGKILL); its log" in err
        assert "Traceback" not in err
        await assert_gone(family)


async def test_kept_data(open_path: Path) -> None:
    """Data in --data-dir is there at the next start, and a second stack on it is refused."""
    where = open_path / "stack"
    async with delegator_dev("--data-dir", str(where)) as dev:
        first = dev.report["environment"]
        async with await psycopg.AsyncConnection.connect(first["DELEGATOR_DATABASE_URL"]) as connection:
            await connection.execute("INSERT INTO custom_task_queue (job_id, job_type) VALUES ('a', 't')")
        assert await _refused("--data-dir", str(where)) == f"another stack is running in {where}"
        assert (await dev.end(signal.SIGINT))[0] == 0
    async with delegator_dev("--data-dir", str(where), "--throw-away") as dev:
        second = dev.report["environment"]
        assert second["DELEGATOR_STREAM_TOKEN"] == first["DELEGATOR_STREAM_TOKEN"]
        async with await psycopg.AsyncConnection.connect(second["DELEGATOR_DATABASE_URL"]) as connection:
            assert await (await connection.execute("SELECT job_id FROM custom_task_queue")).fetchall() == [("a",)]
        assert (await dev.end(signal.SIGINT))[0] == 0
    assert not where.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="we are no root: the other tests have shown it")
async def test_normal_user(open_path: Path) -> None:
    """A user without privileges can run the stack."""
    user = Account("nobody", 65534, 65534)
    python = _python_for(user)
    packages, scripts = sysconfig.get_path("purelib"), sysconfig.get_path("scripts")
    if python is None or not all(can_enter(Path(path), user) for path in (packages, scripts, ROOT)):
        pytest.skip("no Python of this version, or this checkout, can be reached by the user nobody")
    home = open_path / "home"
    home.mkdir()
    shutil.chown(home, user.uid, user.gid)
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'schema'}:{packages}",
        "PATH": f"{scripts}:{os.environ['PATH']}",
        "HOME": str(home),
    }
    async with delegator_dev(python=python, user=user, environment=environment) as dev:
        family = dev.family()
        assert {psutil.Process(pid).uids().real for pid in dev.report["pids"].values()} == {user.uid}
        assert (await dev.end(signal.SIGINT))[0] == 0
        await assert_gone(family)


async def _refused(*arguments: str) -> str:
    """Run a second stack that must not start, and return what it says, up to the advice."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "delegator", "dev", *arguments, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    (line,) = err.decode().splitlines()
    return line.removeprefix("delegator: ").partition(": ")[0]


def _ports(environment: dict[str, str]) -> list[int]:
    names = ("DELEGATOR_DATABASE_URL", "DELEGATOR_STREAM_URL", "TEMPORAL_ADDRESS")
    return [int(environment[name].split("/delegator")[0].rpartition(":")[2]) for name in names]


def _python_for(user: Account) -> Path | None:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (Path(sys.executable).resolve(), Path("/usr/bin") / name, Path("/usr/local/bin") / name)
    return next((path for path in candidates if path.exists() and can_run(path.resolve(), user)), None)
