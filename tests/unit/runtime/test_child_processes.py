"""Signals to child processes."""

from __future__ import annotations

import asyncio
import signal

from delegator.runtime.child_processes import send_signal


async def test_exit_status_stays() -> None:
    """A child that ends while it is signalled keeps its exit status."""
    for _ in range(40):
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "trap '' TERM; exit 3")
        while process.returncode is None:
            send_signal(process, signal.SIGTERM)
            await asyncio.sleep(0)
        # The signal may come before the shell ignores it.
        assert process.returncode in (3, -signal.SIGTERM)


async def test_ended_child() -> None:
    """A signal to a child that has ended does nothing."""
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 3")
    assert await process.wait() == 3
    send_signal(process, signal.SIGTERM)
