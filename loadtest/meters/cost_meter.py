"""The cost meter: measures what a window of time cost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from loadtest.meters.persistence import persistence_requests
from loadtest.meters.process_trees import ProcessMeter
from loadtest.meters.wal import WalMeter, Written
from loadtest.results.costs import Costs

_INTERVAL: Final = 0.5  # seconds between two looks at the memory; a look takes a millisecond or two


@dataclass(frozen=True, slots=True)
class CostSources:
    """Where costs are read. A source that is not given is not measured."""

    processes: Mapping[str, int] = field(default_factory=dict)
    """Name and process id of the processes to watch, each with its descendants, except those that are named too."""
    temporal_metrics_url: str | None = None
    """URL of the Temporal server's Prometheus metrics."""
    database_url: str | None = field(default=None, repr=False)
    """URL of a database on the PostgreSQL server."""


class CostMeter:
    """Measures the costs of an `async with` block.

    Entering and leaving it take a second or two (Temporal's counters lag, the write-ahead log is read), so time the
    work inside it. A source that can't be read is None in the result, never an error.
    """

    def __init__(self, sources: CostSources) -> None:
        """Prepare.

        Args:
            sources: what to read.

        Raises:
            ConfigurationError: there are processes to watch and psutil is not installed.
        """
        self._sources = sources
        self._processes = ProcessMeter(sources.processes) if sources.processes else None
        self._wal: WalMeter | None = None
        self._requests: dict[str, int] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()
        self._costs: Costs | None = None

    def watch(self, processes: Mapping[str, int]) -> None:
        """Watch more processes, which started within the block.

        Args:
            processes: as in `CostSources`, which must have named some.
        """
        assert self._processes is not None
        self._processes.add(processes)

    def look(self) -> None:
        """Look at the processes now. Call it before they end, or what they used since the last look is lost."""
        if self._processes is not None:
            self._processes.sample()

    @property
    def costs(self) -> Costs:
        """What the block cost.

        Raises:
            RuntimeError: the block has not ended, or ended with an exception.
        """
        if self._costs is None:
            raise RuntimeError("the measured block has not ended")
        return self._costs

    async def __aenter__(self) -> Self:
        """Begin to measure."""
        async with AsyncExitStack() as stack:
            if self._sources.database_url is not None:
                self._wal = await stack.enter_async_context(WalMeter(self._sources.database_url))
            self._requests = await self._persistence_requests()
            if self._processes is not None:
                self._processes.begin()
                self._watch = asyncio.create_task(self._sample(self._processes))
            self._stack = stack.pop_all()
        if self._wal is not None:
            await self._wal.begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the measurement and read the remaining sources."""
        async with self._stack:
            if self._watch is not None:
                self._watch.cancel()
            if exc_type is not None:
                return
            if self._wal is not None:
                await self._wal.end()
            if self._processes is not None:
                self._processes.sample()
            after, written = await asyncio.gather(self._persistence_requests(), self._written())
            requests = _increase(self._requests, after)
            self._costs = Costs(
                persistence_operations=None if requests is None else sum(requests.values()),
                persistence_by_operation=requests or {},
                wal_bytes=written.wal_bytes if written else None,
                commits=written.commits if written else None,
                dead_tuples=written.dead_tuples if written else None,
                processes=self._processes.costs() if self._processes is not None else {},
            )

    async def _persistence_requests(self) -> dict[str, int] | None:
        url = self._sources.temporal_metrics_url
        return None if url is None else await persistence_requests(url)

    async def _written(self) -> Written | None:
        return None if self._wal is None else await self._wal.written()

    async def _sample(self, processes: ProcessMeter) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            processes.sample()


def _increase(before: dict[str, int] | None, after: dict[str, int] | None) -> dict[str, int] | None:
    if before is None or after is None:
        return None
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
