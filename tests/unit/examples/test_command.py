from __future__ import annotations

import subprocess
import sys

import pytest

_EXAMPLE = """
import logging
import warnings
from psycopg import OperationalError
from temporalio.service import RPCError, RPCStatusCode
from examples.command import claim, run_example

async def main():
    logging.getLogger("delegator").warning("late")
    warnings.warn("late")
    {line}

run_example(main())
"""


def run(line: str) -> tuple[int, str, str]:
    """Run an example with a line of code. Return its exit code, its output and its errors."""
    arguments = [sys.executable, "-c", _EXAMPLE.format(line=line)]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("line", "ended"),
    [
        ("claim(True, 'it works')", (0, "proven: it works\n", "")),
        ("raise OperationalError('no server' + chr(10) + 'Is it running?')", (2, "", "no server\n")),
        ("raise RPCError('no server', RPCStatusCode.UNAVAILABLE, b'')", (2, "", "no server\n")),
    ],
)
def test_end(line: str, ended: tuple[int, str, str]) -> None:
    """A command ends with one line that says why, and what a busy machine warns of does not come between its lines."""
    assert run(line) == ended


def test_bug() -> None:
    """What is wrong with the example itself has a traceback, and what the engine calls an error is printed."""
    code, _, errors = run("logging.getLogger('delegator').error('broken'); raise RPCError('no', RPCStatusCode(3), b'')")
    assert code == 1
    assert "broken" in errors and "Traceback" in errors and "late" not in errors.partition("Traceback")[0]
