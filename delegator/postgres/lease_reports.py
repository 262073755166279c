"""What a worker says of itself in its lease: its slots, and the jobs that have run longest.

It says so when it renews the lease. So a job costs nothing for it, and a job that has begun since is not in it yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from delegator.runtime.series import SECONDS

RUN_BOUNDS: Final = SECONDS
"""Upper bounds, in seconds, of the classes of `RecentRuns.durations`."""
MOST_JOBS: Final = 50
"""How many jobs a report names. They are those that have run longest."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that a worker runs."""

    job_id: str
    started_at: datetime
    """When the worker began the attempt, by the worker's clock."""
    heartbeat_at: datetime | None
    """When the handler's last heartbeat came; None: none came."""


@dataclass(frozen=True, slots=True)
class RecentRuns:
    """What a worker has done lately, over about a minute."""

    seconds: float
    """The time that it covers."""
    claimed: int
    """How many jobs it claimed."""
    durations: Sequence[int]
    """How many attempts ended, by how long their handlers ran: a number for each bound of `RUN_BOUNDS`, and one for
    those beyond the last."""

    @classmethod
    def read(cls, report: Any) -> Self | None:
        """Return what a report holds; None: nothing, or what this release can't read."""
        try:
            durations = [_count(one) for one in report["durations"]]
            recent = cls(float(report["seconds"]), _count(report["claimed"]), durations)
        except (KeyError, TypeError, ValueError):
            return None
        return recent if recent.seconds > 0 and len(durations) == len(RUN_BOUNDS) + 1 else None


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself."""

    slots: int
    """How many jobs it may run at once."""
    running: int
    """How many it runs."""
    jobs: Sequence[RunningJob] = ()
    """Those that have run longest, the oldest first."""
    at: datetime | None = None
    """When the worker said so, by its clock. A job that it does not name has begun later, unless it has many."""
    has_pauses: bool | None = None
    """Whether it reads the pauses at each claim: it has seen that there are some. None: not said."""
    recent: RecentRuns | None = None
    """What it has done lately; None: it does not say, or has just begun."""

    def to_json(self) -> dict[str, Any]:
        """Return it as the lease keeps it."""
        return {
            "slots": self.slots,
            "running": self.running,
            "at_ms": self.at and _ms(self.at),
            "has_pauses": self.has_pauses,
            "recent": self.recent and asdict(self.recent),
            "jobs": [
                [one.job_id, _ms(one.started_at), one.heartbeat_at and _ms(one.heartbeat_at)] for one in self.jobs
            ],
        }

    @classmethod
    def read(cls, report: Mapping[str, Any]) -> Self:
        """Return what a lease holds. What can't be read is left out: another release may have written it."""
        jobs = []
        for one in _list(report.get("jobs")):
            try:
                job_id, started_ms, heartbeat_ms = one
                jobs.append(
                    RunningJob(
                        str(job_id), _moment(started_ms), None if heartbeat_ms is None else _moment(heartbeat_ms)
                    )
                )
            except (TypeError, ValueError, OverflowError):
                continue
        at = _count(report.get("at_ms"))
        return cls(
            _count(report.get("slots")),
            _count(report.get("running")),
            jobs,
            _moment(at) if at else None,
            _flag(report.get("has_pauses")),
            RecentRuns.read(report.get("recent")),
        )

    def job(self, job_id: str) -> RunningJob | None:
        """Return what is said of a job; None: nothing is."""
        return next((job for job in self.jobs if job.job_id == job_id), None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
