"""The wheel as a user installs it: beside a distribution `schema`, for an application with packages of such names."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from delegator.dev.accounts import temporary_bases
from tests.integration.packaging.support import FOREIGN_SCHEMA, OURS, Installation, install


@pytest.fixture(scope="module")
def installed() -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="delegator-test-", dir=temporary_bases()[0]) as directory:
        Path(directory).chmod(0o711)
        yield install(Path(directory), extras=["embedded"])


@pytest.fixture(scope="module")
async def stack(installed: Installation) -> AsyncIterator[dict[str, str]]:
    """The environment that the installed `delegator dev` prints, while it runs."""
    async with installed.running("delegator", "dev", "--headless", "--json") as dev:
        assert dev.stdout is not None
        assert dev.stderr is not None
        async with asyncio.timeout(90):
            line = await dev.stdout.readline()
        assert line, (await dev.stderr.read()).decode()
        yield json.loads(line)["environment"]
        dev.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            _, err = await dev.communicate()
        assert dev.returncode == 0, err.decode()
        assert "Traceback" not in err.decode()


def test_other_distribution(installed: Installation):
    """The installation changes no file of the distribution `schema`: each has the checksum that its wheel recorded."""
    (info,) = installed.site_packages.glob(f"{FOREIGN_SCHEMA}-*.dist-info")
    checked = 0
    for file in PathDistribution(info).files or ():
        if file.hash is not None and file.parts[0] != "..":
            digest = hashlib.new(file.hash.mode, (installed.site_packages / file).read_bytes()).digest()
            assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value, file
            checked += 1
    assert checked > 0


async def test_top_level_names(installed: Installation):
    """The wheel adds our three packages and its metadata to site-packages, and no other name."""
    (info,) = installed.site_packages.glob(f"{OURS.replace('-', '_')}-*.dist-info")
    tops = {file.parts[0] for file in PathDistribution(info).files or ()}
    assert tops == {"delegator", "http_workers", "delegator_schema", info.name, ".."}


@pytest.mark.parametrize("program", ["delegator", "http-worker"])
async def test_version(installed: Installation, program: str):
    code, out, err = await installed.run(program, "--version")
    assert (code, err) == (0, "")
    assert out.startswith(f"{program}: {OURS} ")
    assert f"Python {sys.version.split()[0]}, temporalio " in out


async def test_migrate(installed: Installation, stack: dict[str, str]):
    """The migrations are in the wheel: they are found without a checkout, and the database has them all."""
    code, out, err = await installed.run("delegator", "migrate", environment=stack)
    assert code == 0, out + err


async def test_a_workflow_gets_its_result(installed: Installation, stack: dict[str, str]):
    """Worker, pool and application run from the installation; each `schema` is the application's own."""
    async with installed.running("http-worker", "--import", "shop.tasks", environment=stack):
        code, out, err = await installed.run("python", "-m", "shop", environment=stack)
    assert code == 0, err
    assert out == "order 7 charged in EUR; the workflow has EUR\n"


async def test_types_reach_the_application(installed: Installation):
    """`mypy --strict` accepts the application and refuses the wrong call: py.typed is in the wheel."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--cache-dir", str(installed.application / ".mypy")),
        *("--python-executable", str(installed.bin / "python"), "shop/__main__.py", "shop/wrong.py"),
        cwd=installed.application,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    errors = [line for line in out.decode().splitlines() if ": error: " in line]
    assert process.returncode == 1, out.decode()
    assert errors, out.decode()
    assert {line.partition(":")[0] for line in errors} == {"shop/wrong.py"}, errors
    assert {line.rpartition("[")[2] for line in errors} <= {"arg-type]", "call-overload]", "return-value]"}, errors
