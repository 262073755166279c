"""Questions about jobs that a workflow run waits for.

Maintenance asks the run by a query which jobs of an earlier run it waits for. The run asks the queues, by a local
activity, which of its jobs they lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from delegator.errors import WireError
from delegator.wire.frames import head, pack, unpack

PENDING_QUERY: Final = "delegator.pending"
"""The query. It asks about job ids, and is answered with those of them that the run waits for.

Without job ids it is answered for people: with JSON."""


class JobSeen(Protocol):
    """A job that a queue has."""

    @property
    def is_retried(self) -> bool:
        """Whether it has failed and is tried again."""

    @property
    def is_in_time(self) -> bool:
        """Whether it has not ended and its deadline is not over. A paused job's stands still."""


class Looked(NamedTuple):
    """What the queues say about jobs that a run waits for."""

    missing: list[str]
    """The ids of those that they lack."""
    is_retrying: bool | None = None
    """Whether one of the others has failed and is retried. None: it was not looked at, or an older release wrote it."""
    in_time: Sequence[str] = ()
    """The ids of those that have not ended and whose deadlines are not over, if the run has asked for these."""

    @classmethod
    def at(
        cls, job_ids: Iterable[str], known: Mapping[str, JobSeen], *, at_deadline: bool, tells_retrying: bool
    ) -> Looked:
        """Return the answer about some jobs.

        Args:
            job_ids: the jobs.
            known: those that the queues have, by their ids.
            at_deadline: also say which of them are in time.
            tells_retrying: also say whether one of them is retried.
        """
        return cls(
            [job_id for job_id in job_ids if job_id not in known],
            any(job.is_retried for job in known.values()) if tells_retrying else None,
            [job_id for job_id, job in known.items() if at_deadline and job.is_in_time],
        )


def pack_looked(looked: Looked) -> bytes:
    """Return the frame of the queues' answer."""
    header: dict[str, object] = {"job_ids": looked.missing}
    if looked.is_retrying is not None:
        header["retrying"] = looked.is_retrying
    if looked.in_time:
        header["in_time"] = looked.in_time
    return pack(header, [])


def unpack_looked(frame: bytes) -> Looked:
    """Return the answer in a frame.

    Raises:
        WireError: the bytes are another kind of frame, or none.
    """
    header = head(frame)
    retrying, in_time = header.get("retrying"), header.get("in_time")
    return Looked(
        unpack_job_ids(frame),
        retrying if isinstance(retrying, bool) else None,
        [one for one in in_time if isinstance(one, str)] if isinstance(in_time, list) else [],
    )


def pack_job_ids(job_ids: Iterable[str]) -> bytes:
    """Return the frame of a question, or of a run's answer."""
    return pack({"job_ids": list(job_ids)}, [])


def unpack_job_ids(frame: bytes) -> list[str]:
    """Return the job ids in a frame.

    Raises:
        WireError: the bytes are another kind of frame, or none.
    """
    header, _ = unpack(frame)
    job_ids = header.get("job_ids") if isinstance(header, dict) else None
    if not isinstance(job_ids, list) or not all(isinstance(job_id, str) for job_id in job_ids):
        raise WireError("not a list of job ids")
    return job_ids
