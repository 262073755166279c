"""Signals to child processes, without the exit status of one that has just ended getting lost."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress


def send_signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a child process, if it still runs.

    `Process.send_signal` asks for the child's exit status first, and so may take it away from the event loop, which
    then warns of an "Unknown child process" and reports the status 255. (CPython: `subprocess.Popen.send_signal`
    calls `poll`.)

    Args:
        process: the child.
        number: the signal.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
