"""What a measured window cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.results.statements import ServerStatements, medians_by_server


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """What one process cost, with the processes that it started."""

    cpu_s: float
    """Processor seconds, user and system."""
    peak_rss_bytes: int
    """The most physical memory that it held at once. Pages that its processes share (PostgreSQL's buffers, program
    text) count once."""


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """Costs divided by a number of jobs or workflows; None or missing if the source could not be read."""

    persistence_operations: float | None
    """Temporal's calls to its own database."""
    wal_bytes: float | None
    """Bytes of write-ahead log."""
    commits: float | None
    """Transactions that wrote."""
    dead_tuples: float | None
    """Old row versions left for vacuum."""
    cpu_ms: dict[str, float]
    """Processor milliseconds of each process."""
    temporal_wal_bytes: float | None = None
    """Bytes of write-ahead log of Temporal's own PostgreSQL server."""
    temporal_commits: float | None = None
    """Transactions that wrote, on Temporal's own server."""
    temporal_dead_tuples: float | None = None
    """Old row versions left for vacuum, on Temporal's own server."""
    statements: dict[str, float] = field(default_factory=dict)
    """SQL statements by server, without those that idle servers run in the same time."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What the measured window of a run cost; the field names are JSON keys, stable. None: not measured."""

    persistence_operations: int | None
    """Temporal's calls to its own database, with those of its housekeeping."""
    persistence_by_operation: dict[str, int]
    """The same by operation (`UpdateWorkflowExecution`, ...), without operations that did not happen."""
    wal_bytes: int | None
    """Bytes of write-ahead log of the whole PostgreSQL server that has the queue; Temporal may use another one."""
    commits: int | None
    """Committed transactions that wrote something, of the same server."""
    dead_tuples: int | None
    """Old row versions that updates and deletes left for vacuum, of the same server."""
    processes: dict[str, ProcessCost]
    """Processor time and memory of each process, by its name."""
    wal_fpi_bytes: int | None = None
    """Bytes of full-page images in `wal_bytes`: a page's first change after a checkpoint writes the whole page."""
    temporal_wal_bytes: int | None = None
    """As `wal_bytes`, of Temporal's own PostgreSQL server; None too if Temporal has none that we started."""
    temporal_commits: int | None = None
    """As `commits`, of Temporal's own server."""
    temporal_dead_tuples: int | None = None
    """As `dead_tuples`, of Temporal's own server."""
    temporal_wal_fpi_bytes: int | None = None
    """As `wal_fpi_bytes`, of Temporal's own server."""
    statements: dict[str, ServerStatements] = field(default_factory=dict)
    """SQL statements of each server: `queue`, and `temporal` if it has its own. Without a server: not counted."""

    def per(self, count: int) -> UnitCosts | None:
        """Divide by a number of jobs or workflows; None: the number is 0.

        Args:
            count: the number.
        """
        if count < 1:
            return None

        def share(total: int | None) -> float | None:
            return None if total is None else total / count

        return UnitCosts(
            persistence_operations=share(self.persistence_operations),
            wal_bytes=share(self.wal_bytes),
            commits=share(self.commits),
            dead_tuples=share(self.dead_tuples),
            cpu_ms={name: process.cpu_s * 1000 / count for name, process in self.processes.items()},
            temporal_wal_bytes=share(self.temporal_wal_bytes),
            temporal_commits=share(self.temporal_commits),
            temporal_dead_tuples=share(self.temporal_dead_tuples),
            statements={name: server.net_total("calls") / count for name, server in self.statements.items()},
        )

    @classmethod
    def median(cls, costs: Sequence[Costs]) -> Costs | None:
        """Return the medians of several runs, each over those that have the number; None: there are no runs."""
        if not costs:
            return None
        names = dict.fromkeys(name for run in costs for name in run.processes)
        counted = [run.persistence_by_operation for run in costs if run.persistence_operations is not None]
        operations = dict.fromkeys(name for run in counted for name in run)
        return cls(
            persistence_operations=_median(run.persistence_operations for run in costs),
            persistence_by_operation={name: _whole(run.get(name, 0) for run in counted) for name in operations},
            wal_bytes=_median(run.wal_bytes for run in costs),
            commits=_median(run.commits for run in costs),
            dead_tuples=_median(run.dead_tuples for run in costs),
            processes={name: _median_process(name, [run.processes for run in costs]) for name in names},
            wal_fpi_bytes=_median(run.wal_fpi_bytes for run in costs),
            temporal_wal_bytes=_median(run.temporal_wal_bytes for run in costs),
            temporal_commits=_median(run.temporal_commits for run in costs),
            temporal_dead_tuples=_median(run.temporal_dead_tuples for run in costs),
            temporal_wal_fpi_bytes=_median(run.temporal_wal_fpi_bytes for run in costs),
            statements=medians_by_server([run.statements for run in costs]),
        )


def _median_process(name: str, runs: Sequence[Mapping[str, ProcessCost]]) -> ProcessCost:
    seen = [run[name] for run in runs if name in run]
    return ProcessCost(
        cpu_s=statistics.median(process.cpu_s for process in seen),
        peak_rss_bytes=_whole(process.peak_rss_bytes for process in seen),
    )


def _median(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return _whole(known) if known else None


def _whole(values: Iterable[int]) -> int:
    return round(statistics.median(values))
