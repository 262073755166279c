"""The health of a stack: the health of its components, asked at each request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from delegator.dev.stack import RunningStack

_ANSWER_LIMIT = aiohttp.ClientTimeout(total=3)


class StackHealth:
    """Ready while every component runs and the engine's own processes are ready.

    The health server's thread calls it. It only reads what the stack's event loop writes.
    """

    def __init__(self) -> None:
        """Begin with a stack that has not started."""
        self.stack: RunningStack | None = None
        """The stack, once it has started."""
        self._registry = CollectorRegistry()
        self._up = Gauge(
            "delegator_stack_component_up",
            "1 while a component of the stack runs",
            ["component"],
            registry=self._registry,
        )

    async def stalled(self) -> Mapping[str, str]:
        """Return nothing: the stack has no loop that must make progress."""
        return {}

    async def problems(self) -> Mapping[str, str | None]:
        """Return what is wrong with each component."""
        stack = self.stack
        if stack is None:
            return {"stack": "is starting"}
        running = stack.pids
        problems: dict[str, str | None] = {name: None if name in running else "is not running" for name in stack.logs}
        asked = {name: url for name, url in stack.program_urls.items() if problems[name] is None}
        async with aiohttp.ClientSession(timeout=_ANSWER_LIMIT) as session:
            answers = await asyncio.gather(*(_missing(session, url) for url in asked.values()))
        return problems | dict(zip(asked, answers, strict=True))

    async def metrics(self) -> bytes:
        """Return which components run, in Prometheus's text format."""
        if self.stack is not None:
            running = self.stack.pids
            for name in self.stack.logs:
                self._up.labels(name).set(name in running)
        return generate_latest(self._registry)


async def _missing(session: aiohttp.ClientSession, url: str) -> str | None:
    """Return what is wrong with a process of the engine."""
    try:
        async with session.get(f"{url}/readyz") as response:
            if response.status == 200:
                return None
            missing = (await response.json()).get("missing", [])
    except (OSError, TimeoutError, ValueError, aiohttp.ClientError):
        return "does not answer"
    return f"is not ready: {', '.join(missing)}"
