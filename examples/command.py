"""How the command of an example ends, and how it says what it has proven."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn

import uvloop
from psycopg import OperationalError
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode

from delegator import DelegatorError

_POLL_SECONDS = 0.05


class ClaimNotMet(Exception):
    """The system did not do what the example promises. The message says what."""


def claim(holds: bool, what: str) -> None:
    """Print what an example has proven.

    Args:
        holds: whether it is true.
        what: the promise, as a sentence.

    Raises:
        ClaimNotMet: it is not true.
    """
    if not holds:
        raise ClaimNotMet(f"not met: {what}")
    print(f"proven: {what}")


async def until(what: str, condition: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Wait until a condition holds.

    Args:
        what: the condition, for the message.
        condition: asked again and again, until its answer is true in Python's sense.
        seconds: how long to wait.

    Raises:
        ClaimNotMet: it did not hold in time.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110  # it looks at servers, which tell nobody
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise ClaimNotMet(f"not met within {seconds:g} s: {what}") from None


def run_example(example: Coroutine[Any, Any, None]) -> NoReturn:
    """Run an example and end the process.

    The exit code is 0, or 1 when a claim is not met, 2 when a server or a setting is wrong (one line says which), 130
    after Ctrl-C and 143 after SIGTERM.
    """
    _print_no_warnings()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_terminated(example))
    except ClaimNotMet as unmet:
        print(unmet, file=sys.stderr)
        sys.exit(1)
    except (DelegatorError, OperationalError, RPCError) as error:
        if isinstance(error, RPCError) and error.status is not RPCStatusCode.UNAVAILABLE:
            raise
        print(str(error).partition("\n")[0], file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    sys.exit(0)


def _print_no_warnings() -> None:
    """Let the SDK and the engine print errors only. A busy machine makes them warn a thousand times that it is late."""
    logging.basicConfig(level=logging.ERROR)
    logging.captureWarnings(True)
    errors_only = LoggingConfig(TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=errors_only)))


async def _until_terminated(example: Coroutine[Any, Any, None]) -> None:
    """Let SIGTERM end the example as Ctrl-C does: it stops what it started."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await example
