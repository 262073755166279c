"""Collects the health of several worker processes over their Unix sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

_ANSWER_LIMIT_SECONDS: Final = 3.0
_START_ALLOWANCE_SECONDS: Final = 30.0

PROCESS_LABEL: Final = "process"
"""Label of a worker process's series at its supervisor: the process's index."""


@dataclass(slots=True)
class Child:
    """The state of one worker process."""

    index: int
    """Its index, from 0. A replacement has the same index."""
    socket: Path
    """The Unix socket of its health server."""
    generation: int = 0
    """How often it was replaced."""
    running: bool = False
    """Whether there is a process now."""
    answered_at: float = field(default_factory=time.monotonic)
    """Monotonic time of its last answer, or of its start."""


class ChildrenHealth:
    """The health of a supervisor. It is alive and ready if every child is. Its metrics are those of all children."""

    def __init__(
        self,
        children: Sequence[Child],
        registry: CollectorRegistry,
        *,
        start_allowance: float = _START_ALLOWANCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Collect the health of these children.

        Args:
            children: the children. The supervisor updates them.
            registry: the supervisor's own metrics.
            start_allowance: seconds that a process may take until its first answer, also after a restart. After that it
                counts as not alive.
            clock: monotonic, in seconds.
        """
        self._children = children
        self._registry = registry
        self._start_allowance = start_allowance
        self._clock = clock

    async def stalled(self) -> Mapping[str, str]:
        """Return the loops of all children that make no progress, and the children that do not answer."""
        stalled: dict[str, str] = {}
        for child, body in await self._ask("/livez"):
            if body is not None:
                stalled |= {f"process {child.index}: {k}": v for k, v in _mapping(body, "stalled").items()}
            elif (silent := self._clock() - child.answered_at) > self._start_allowance:
                stalled[f"process {child.index}"] = f"no answer for {silent:.0f} s"
        return stalled

    async def problems(self) -> Mapping[str, str | None]:
        """Return every dependency with what is wrong in any child."""
        problems: dict[str, str | None] = {}
        for child, body in await self._ask("/readyz"):
            if body is None:
                problems[f"process {child.index}"] = "does not answer" if child.running else "is not running"
                continue
            for name, problem in _mapping(body, "dependencies").items():
                if problems.get(name) is None:
                    problems[name] = problem and f"process {child.index}: {problem}"
        return problems

    async def metrics(self) -> bytes:
        """Return the supervisor's own metrics, then those of every child with its index as `PROCESS_LABEL`."""
        families: dict[str, Metric] = {}
        for child, body in await self._ask("/metrics"):
            for family in text_string_to_metric_families(body.decode()) if body is not None else ():
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                label = {PROCESS_LABEL: str(child.index)}
                merged.samples.extend(sample._replace(labels={**sample.labels, **label}) for sample in family.samples)
        return generate_latest(self._registry) + generate_latest(_Families(families.values()))

    async def _ask(self, route: str) -> list[tuple[Child, bytes | None]]:
        async with asyncio.TaskGroup() as group:
            asked = [(child, group.create_task(self._answer(child, route))) for child in self._children]
        return [(child, task.result()) for child, task in asked]

    async def _answer(self, child: Child, route: str) -> bytes | None:
        if not child.running:
            return None
        try:
            async with (
                asyncio.timeout(_ANSWER_LIMIT_SECONDS),
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(child.socket))) as session,
                session.get(f"http://worker{route}") as response,
            ):
                body = await response.read()
        except (OSError, aiohttp.ClientError, TimeoutError):
            return None
        child.answered_at = self._clock()
        return body


class _Families:
    """Gives collected metrics to `generate_latest`."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._families


def _mapping(body: bytes, key: str) -> dict[str, Any]:
    value = orjson.loads(body).get(key, {})
    return value if isinstance(value, dict) else {}
