"""Signals, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROGRAM = """
import asyncio, sys, time, uvloop
from delegator.runtime.shutdown import shutdown_signals

async def main():
    async with shutdown_signals() as stop:
        print("ready", flush=True)
        if {blocked}:
            while True: time.sleep(0.05)
        await stop.requested.wait()
        print("stopping", flush=True)
        if {slow}:
            await asyncio.sleep(60)
    print("stopped", flush=True)

{run}(main())
"""


@contextmanager
def running(run: str, *, blocked: bool = False, slow: bool = False) -> Iterator[subprocess.Popen[str]]:
    program = PROGRAM.format(run=run, blocked=blocked, slow=slow)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal(run: str, number: signal.Signals):
    """The first signal asks the process to stop."""
    with running(run) as process:
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("stopping\nstopped\n", "")
        assert process.returncode == 0


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_second_signal(run: str):
    """The second signal ends the process at once."""
    with running(run, slow=True) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 128 + signal.SIGINT


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_second_signal_blocked(run: str):
    """The second signal ends a process whose event loop is blocked, too."""
    with running(run, blocked=True) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
