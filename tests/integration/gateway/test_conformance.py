"""The reference workers pass the conformance suite; a worker that does less does not."""

from __future__ import annotations

import shutil
import sys

import pytest

from delegator.gateway.conformance.checks import CHECKS
from delegator.gateway.conformance.run import check_worker
from tests.integration.delegator.environment import ROOT, Environment
from tests.integration.gateway.support import RunningGateway

_WORKERS = ROOT / "examples/workers"
_COMMANDS = {"javascript": ("node", "worker.mjs"), "shell": ("bash", "worker.sh")}
_LONGEST = 150
_FEW = ("echo", "failure", "cancellation", "stop")
"""Shell starts many processes. All checks take half a minute."""
_CARELESS = """
import json, os, urllib.request

def post(route, body):
    url = os.environ["GATEWAY_URL"] + "/v1/" + route
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))

while True:
    asked = {"queue": "default", "types": ["conformance.add", "conformance.fail"]}
    for job in post("poll", asked)["jobs"]:
        post("complete", {"jobs": [{"token": job["token"], "result": 41}]})
"""
"""A worker that returns the same for every job."""


@pytest.mark.parametrize(("language", "only"), [("javascript", tuple(CHECKS)), ("shell", _FEW)])
async def test_reference_worker(
    engine: Environment, gateway: RunningGateway, language: str, only: tuple[str, ...]
) -> None:
    """It does all that the protocol asks for, in less than 150 lines."""
    program, file = _COMMANDS[language]
    if shutil.which(program) is None or (language == "shell" and shutil.which("jq") is None):
        pytest.skip(f"needs {program}, and jq for the shell")
    source = _WORKERS / language / file
    assert len(source.read_text().splitlines()) < _LONGEST
    found = await check_worker(gateway.url, [program, str(source)], engine.settings, "default", only=only)
    assert found == dict.fromkeys(only)


async def test_careless_worker(engine: Environment, gateway: RunningGateway) -> None:
    """The suite says what a worker does wrong."""
    command = [sys.executable, "-c", _CARELESS]
    found = await check_worker(gateway.url, command, engine.settings, "default", only=["add", "failure"])
    assert found == {"add": "add of 40 and 2 returned 41", "failure": "fail returned 41, and did not fail"}
