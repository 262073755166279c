"""A mistake in the use of `http-worker` gives one line that says what to do, and exit code 2; nothing starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DELEGATED = "from delegator.contracts import delegated\n"
MODULES = {
    "tasks": DELEGATED + "@delegated\nasync def f(x: int) -> int: return x\n",
    "video": DELEGATED + "@delegated(queue='video')\nasync def f(x: int) -> int: return x\n",
    "empty": "x = 1\n",
    "contracts": "from delegator.contracts import contract\n@contract()\nasync def f(x: int) -> int: ...\n",
    "needs": "import no_such_library\n",
    "syntax": "def f(:\n",
    "boom": "raise ValueError('two\\nlines')\n",
    "leaves": "raise SystemExit(0)\n",
    "methods": DELEGATED + "class Mail:\n    @delegated\n    async def send(self, x: int) -> int: return x\n",
    "old": "from temporalio import activity\n@activity.defn\nasync def g(x: int) -> int: return x\n",
    "old_class": "from temporalio import activity\nclass Old:\n    @activity.defn\n    def g(self): ...\n",
    "unresolved": "from __future__ import annotations\n"
    + DELEGATED
    + "@delegated\nasync def f(x: Missing) -> int: ...\n",
    "twice": DELEGATED + "@delegated(name='f')\nasync def g(x: int) -> int: return x\n",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli")
    for name, text in MODULES.items():
        (directory / f"{name}.py").write_text(text)
    return directory


def worker(here: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("http-worker"), *arguments],
        cwd=here,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", ["--import yourpkg.tasks"]),
        ("--import nosuch.tasks", ["--import nosuch.tasks", "no module named 'nosuch'"]),
        ("--import tasks.py", ["--import tasks.py", "yourpkg.tasks"]),
        ("--import ./tasks.py", ["--import ./tasks.py", "yourpkg.tasks"]),
        ("--import needs", ["--import needs", "ModuleNotFoundError", "no_such_library", "needs.py, line 1"]),
        ("--import syntax", ["--import syntax", "SyntaxError", "syntax.py, line 1"]),
        ("--import boom", ["--import boom", "ValueError: two lines"]),
        ("--import leaves", ["--import leaves", "SystemExit"]),
        ("--import empty", ["--import empty", "@delegated"]),
        ("--import contracts", ["--import contracts", "(f)", "@implements(contract)"]),
        ("--import methods", ["--import methods", "make an object of the class that declares send"]),
        ("--import old", ["--import old", "give it by --activities, or decorate them with @delegated"]),
        ("--activities empty", ["--activities empty", "has no activity"]),
        ("--activities old_class", ["--activities old_class", "no object of them", "@resource"]),
        ("--activities nosuch", ["--activities nosuch", "no module named 'nosuch'"]),
        ("--import unresolved", ["--import unresolved", "name 'Missing' is not defined"]),
        (
            "--import tasks --import twice",
            ["two handlers", "'f'", "tasks.f (", "tasks.py, line 2)", "twice.g (", "twice.py, line 2)", "another name"],
        ),
        ("--import video", ["--queue default", "only for: video"]),
        ("--import tasks --queue video", ["--queue video", "DELEGATOR_QUEUES", "delegator migrate"]),
        ("--import tasks --port 70000", ["--port 70000"]),
        ("--import tasks --grace nan", ["--grace"]),
        ("--import boom --processes 2", ["--import boom", "ValueError: two lines"]),
    ],
)
def test_bad_arguments(here: Path, arguments: str, said: list[str]):
    """A mistake ends the command with one line and exit code 2."""
    ended = worker(here, *arguments.split())
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("http-worker: ")
    for part in said:
        assert part in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--concurrency many", "'many' is not a whole number"),
        ("--processes two", "'two' is not a whole number"),
        ("--port 1.5", "'1.5' is not a whole number"),
        ("--claim sometimes", "'sometimes' is not one of 'lease', 'none'"),
    ],
)
def test_unknown_option(here: Path, arguments: str, said: str):
    """A wrong option ends the command with an error and without a traceback."""
    ended = worker(here, "--import", "tasks", *arguments.split())
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    *_, last = ended.stderr.splitlines()
    assert last.startswith("Error: ")
    assert said in last


@pytest.mark.parametrize(
    ("interceptor", "said"),
    [
        ("tasks", "--interceptor tasks: write it like package.module:attribute"),
        ("tasks:nothing", "--interceptor tasks:nothing: module 'tasks' has no attribute 'nothing'"),
        ("builtins:dict", "it returned a value of the type dict, not a temporalio.worker.Interceptor"),
    ],
)
def test_wrong_interceptor(here: Path, interceptor: str, said: str):
    """What is no interceptor is refused by name."""
    ended = worker(here, "--import", "tasks", "--interceptor", interceptor)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_wrong_setting(here: Path):
    """A wrong setting ends the command with exit code 2 and an error that names it."""
    ended = worker(here, "--import", "tasks", DELEGATOR_QUEUES="No Queue")
    assert ended.returncode == 2
    assert ended.stderr.startswith("http-worker: DELEGATOR_QUEUES")


def test_taken_port(here: Path):
    """The supervisor names a port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = worker(here, "--import", "tasks", "--processes", "2", "--port", str(port))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert f"port {port}" in line


def test_module_command(here: Path):
    """`python -m http_workers` is the same command."""
    ended = subprocess.run(
        [sys.executable, "-m", "http_workers", "--import", "empty"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "--import empty" in ended.stderr


STAND_IN = """
import asyncio, sys
import delegator.errors as errors
import http_workers.worker
from http_workers.cli import main

async def fail(error): raise error

async def serve(options, settings, declared, surroundings, stop, started, **_):
    assert options.claim == "none" and options.grace.total_seconds() == 1.5 and set(declared.handlers) == {{"f"}}
    async with asyncio.TaskGroup() as group:
        group.create_task(fail({error}))

http_workers.worker.serve = serve
sys.argv[1:] = ["--import", "tasks", "--claim", "none", "--grace", "1.5"]
main()
"""


def run_with_pool_that_raises(here: Path, error: str) -> subprocess.CompletedProcess[str]:
    program = STAND_IN.format(error=error)
    return subprocess.run([sys.executable, "-c", program], cwd=here, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("errors.DatabaseError('can not connect')", 2),
        ("errors.SchemaError('no table')", 2),
        ("errors.WireError('nonsense')", 1),
    ],
)
def test_pool_error(here: Path, error: str, status: int):
    """An error of ours that a task of the pool raises ends the command with one line."""
    ended = run_with_pool_that_raises(here, error)
    assert ended.returncode == status
    assert ended.stderr == f"http-worker: {error.split(chr(39))[1]}\n"


def test_unexpected_error(here: Path):
    """An unexpected error of the pool is shown with its traceback."""
    ended = run_with_pool_that_raises(here, "ZeroDivisionError()")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
