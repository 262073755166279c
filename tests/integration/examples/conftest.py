"""The examples run on the shared stack; one test for each runs its command as a user would."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from delegator.dev import RunningStack


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    output: str
    errors: str


RunCommand = Callable[..., Awaitable[Ended]]


@contextmanager
def environment_of(stack: RunningStack) -> Iterator[None]:
    """Point this process, and those that it starts, at a stack."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        # A killed pool's jobs then run again within seconds.
        patch.setenv("DELEGATOR_LEASE", "1s")
        yield


@pytest.fixture(scope="module")
def servers(stack: RunningStack) -> Iterator[RunningStack]:
    """The shared stack, in the environment of the example's code."""
    with environment_of(stack):
        yield stack


@pytest.fixture
def without_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no servers, so that a command starts its own."""
    for name in [name for name in os.environ if name.startswith(("DELEGATOR_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def run_command() -> RunCommand:
    """`await run_command("hello", "world", environment={...})` runs `python -m examples.hello world`."""

    async def run(example: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Ended:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"examples.{example}", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | dict(environment or {}),
        )
        output, errors = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(), errors.decode())

    return run
