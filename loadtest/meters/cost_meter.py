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
from loadtest.meters.statements import Counted, StatementMeter
from loadtest.meters.wal import WalMeter, Written
from loadtest.results.costs import Costs
from loadtest.results.statements import QUEUE, TEMPORAL, ServerStatements

_UNKNOWN: Final = Written(None, None, None, None)
_SETTLING: Final = 1.5  # seconds in which Temporal writes what earlier work left
_INTERVAL: Final = 0.5  # seconds between two looks at the memory; a look takes a millisecond or two


@dataclass(frozen=True, slots=True)
class CostSources:
    """Where costs are read. A source that is not given is not measured."""

    processes: Mapping[str, int] = field(default_factory=dict)
    """Name and process id of the processes to watch, each with its descendants, except those that are named too."""
    temporal_metrics_url: str | None = None
    """URL of the Temporal server's Prometheus metrics."""
    database_url: str | None = field(default=None, repr=False)
    """URL of a database on the queue's PostgreSQL server."""
    temporal_database_url: str | None = field(default=None, repr=False)
    """URL of a database on Temporal's own PostgreSQL server."""
    statement_urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    """URLs of the PostgreSQL servers whose statements are counted, by the server's name."""
    background: Mapping[str, Counted] = field(default_factory=dict)
    """What those servers did while they were idle; see `idle_statements`."""


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
        urls = {QUEUE: sources.database_url, TEMPORAL: sources.temporal_database_url}
        self._wal = {name: WalMeter(url) for name, url in urls.items() if url is not None}
        self._statements = {name: StatementMeter(url) for name, url in sources.statement_urls.items()}
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
            for wal in self._wal.values():
                await stack.enter_async_context(wal)
            for statements in self._statements.values():
                await stack.enter_async_context(statements)
            self._requests = await self._persistence_requests()
            if self._processes is not None:
                self._processes.begin()
                self._watch = asyncio.create_task(self._sample(self._processes))
            self._stack = stack.pop_all()
        for wal in self._wal.values():
            await wal.begin()
        for statements in self._statements.values():
            await statements.begin()
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
            for wal in self._wal.values():
                await wal.end()
            if self._processes is not None:
                self._processes.sample()
            # The wait for Temporal's counters is part of the statements' window: Temporal writes a little after it
            # gave the last result. The wait before the window kept the same out that the warm-up left.
            after = await self._persistence_requests()
            counted = {name: await meter.end() for name, meter in self._statements.items()}
            written = {name: await wal.written() for name, wal in self._wal.items()}
            requests = _increase(self._requests, after)
            queue, temporal = (written.get(name) or _UNKNOWN for name in (QUEUE, TEMPORAL))
            self._costs = Costs(
                persistence_operations=None if requests is None else sum(requests.values()),
                persistence_by_operation=requests or {},
                wal_bytes=queue.wal_bytes,
                commits=queue.commits,
                dead_tuples=queue.dead_tuples,
                processes=self._processes.costs() if self._processes is not None else {},
                wal_fpi_bytes=queue.fpi_bytes,
                temporal_wal_bytes=temporal.wal_bytes,
                temporal_commits=temporal.commits,
                temporal_dead_tuples=temporal.dead_tuples,
                temporal_wal_fpi_bytes=temporal.fpi_bytes,
                statements={name: self._with_background(name, window) for name, window in counted.items()},
            )

    async def _persistence_requests(self) -> dict[str, int] | None:
        url = self._sources.temporal_metrics_url
        return None if url is None else await persistence_requests(url)

    def _with_background(self, name: str, window: Counted) -> ServerStatements:
        idle = self._sources.background.get(name)
        return ServerStatements(
            seconds=window.seconds,
            statements=window.statements,
            background_seconds=idle.seconds if idle else 0.0,
            background=idle.statements if idle else [],
            own_calls=window.own_calls,
            incomplete=window.incomplete or (idle is not None and idle.incomplete),
        )

    async def _sample(self, processes: ProcessMeter) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            processes.sample()


async def idle_statements(urls: Mapping[str, str], seconds: float) -> Mapping[str, Counted]:
    """Count what servers do while nothing is asked of them.

    Args:
        urls: of the servers, by name; none: return at once.
        seconds: how long to look.
    """
    if not urls:
        return {}
    await asyncio.sleep(_SETTLING)
    async with AsyncExitStack() as stack:
        meters = {name: await stack.enter_async_context(StatementMeter(url)) for name, url in urls.items()}
        for meter in meters.values():
            await meter.begin()
        await asyncio.sleep(seconds)
        return {name: await meter.end() for name, meter in meters.items()}


def _increase(before: dict[str, int] | None, after: dict[str, int] | None) -> dict[str, int] | None:
    if before is None or after is None:
        return None
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
