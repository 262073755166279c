"""Signals, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

PROGRAM = """
import asyncio, signal, sys, time, uvloop
from delegator.runtime.shutdown import shutdown_signals

# The tests may run under nohup, which children inherit.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

async def main():
    async with shutdown_signals() as stop:
        print("ready", flush=True)
        if {blocked}:
            while True: time.sleep(0.05)
        await stop.requested.wait()
        print("stopping", flush=True)
        if {stays}:
            await asyncio.sleep(60)
    print("stopped", flush=True)

{run}(main())
"""


@contextmanager
def running(run: str, *, blocked: bool = False, stays: bool = False) -> Iterator[subprocess.Popen[str]]:
    program = PROGRAM.format(run=run, blocked=blocked, stays=stays)
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
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_first_signal(run: str, number: signal.Signals):
    """The first signal asks the process to stop."""
    with running(run) as process:
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("stopping\nstopped\n", "")
        assert process.returncode == 0


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_second_signal(run: str):
    """The second signal ends the process at once."""
    with running(run, stays=True) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_second_signal_blocked(run: str):
    """The second signal ends a process whose event loop is blocked, too."""
    with running(run, blocked=True) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


def test_nohup_keeps_its_meaning():
    """A process that was started with SIGHUP ignored goes on when its terminal closes."""
    with running("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); asyncio.run") as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60) == ("stopping\nstopped\n", "")


UNNOTICED = """
import asyncio, signal, threading, time, uvloop
from delegator.runtime.shutdown import shutdown_signals

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # in this thread: the kernel interrupts the other one

async def main():
    async with shutdown_signals() as stop:
        print("ready", flush=True)
        await stop.requested.wait()

{run}(main())
"""


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_uninterrupted(run: str):
    """A signal is noticed although it does not interrupt the wait of the event loop."""
    command = [sys.executable, "-c", UNNOTICED.format(run=run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


CANCELLED = """
import asyncio
from delegator.runtime.shutdown import cancelled_by_signals

async def main():
    try:
        async with cancelled_by_signals(again={again}):
            print("ready", flush=True)
            try:
                await asyncio.sleep(600)
            finally:
                print("stopping", flush=True)
                try:
                    await asyncio.get_running_loop().run_in_executor(None, input)
                finally:
                    print("broken off" if asyncio.current_task().cancelling() > 1 else "cleaned up", flush=True)
    except asyncio.CancelledError:
        print("stopped", flush=True)

asyncio.run(main())
"""


def finish(process: subprocess.Popen[str]) -> str:
    """Answer the process's `input` and return the rest of its output.

    `communicate` would lose the lines that `readline` has buffered.
    """
    assert process.stdin and process.stdout
    with suppress(BrokenPipeError):  # the process has ended already
        process.stdin.write("\n")
        process.stdin.close()
    output = process.stdout.read()
    process.wait(60)
    return output


@pytest.mark.parametrize(("again", "end"), [(True, "broken off"), (False, "cleaned up")])
def test_a_block_is_cancelled(again: bool, end: str):
    """A second signal breaks off the block's cleanup, or does nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", CANCELLED.format(again=again)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            for line in ("ready\n", "stopping\n"):
                assert process.stdout.readline() == line
                process.send_signal(signal.SIGTERM)
            if again:
                assert process.stdout.readline() == f"{end}\n"
                assert finish(process) == "stopped\n"
            else:
                assert finish(process) == f"{end}\nstopped\n"
            assert process.returncode == 0
        finally:
            process.kill()
