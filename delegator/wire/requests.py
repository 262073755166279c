"""Enqueue and cancel requests, from workflow code to its local activities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from delegator.errors import WireError
from delegator.wire.frames import pack, unpack

ENQUEUE_ACTIVITY = "delegator.enqueue"
CANCEL_ACTIVITY = "delegator.cancel"
PAYLOADS_TOO_LARGE = "PayloadsTooLarge"
"""The SDK's type of the error of a payload that exceeds Temporal's limit. It fails the workflow task, too."""
PAYLOAD_ERROR = "delegator.PayloadError"
"""The type of a local activity's error that is to fail the workflow task."""
MAX_JOB_ID_BYTES = 500
"""A notification has at most 8,000 bytes. It names job ids of up to 7,000 bytes, and one more."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What many jobs of a request have in common."""

    type: str
    """The delegated activity type."""
    queue: str
    """The queue."""
    options: dict[str, Any] | None
    """In the form of the `options` column."""


class JobRequest(NamedTuple):
    """One job to enqueue."""

    spec: JobSpec
    """Its type, queue and options."""
    input: bytes
    """Its arguments: a serialized `Payloads`, not encoded by the codec."""
    header: bytes
    """A serialized `Header`; empty: none."""
    job_id: str | None
    """The caller's own job id; None: the id is made of the prefix and the sequence number."""


@dataclass(frozen=True, slots=True)
class EnqueueRequest:
    """What a workflow asks its local activity to enqueue."""

    jobs: Sequence[JobRequest]
    """In ascending order of their sequence numbers."""
    sequences: Sequence[int]
    """Each job's sequence number within the run."""
    reply_bytes: int
    """Most bytes of outcomes in the reply. Outcomes beyond that are signalled."""
    task_began_at: float | None = None
    """From when on the workflow task's age counts, in seconds of its process's monotonic clock; None: from now on. The
    age bounds inline waiting."""


def check_job_id(job_id: str) -> None:
    """Refuse a text that can't be a job id.

    Raises:
        ValueError: the id is empty, too long, or has characters that can't be printed.
    """
    if not job_id or not job_id.isprintable() or len(job_id.encode()) > MAX_JOB_ID_BYTES:
        raise ValueError(f"a job id has 1 to {MAX_JOB_ID_BYTES} bytes and only printable characters: {job_id[:100]!r}")


def generated_job_id(prefix: str, sequence: int) -> str:
    """Return the id of the job that a workflow run enqueued as its `sequence`th."""
    return f"{prefix}:{sequence}"


def task_job_id(run: str | None, activity_id: str, attempt: int) -> str:
    """Return the id of a job for an activity task. Every attempt has its own, because Temporal makes it a new task."""
    return f"activity:{run}:{activity_id}:{attempt}"


def activity_id_in(job_id: str) -> str:
    """Return the activity's id in what `task_job_id` returned."""
    return job_id.partition(":")[2].partition(":")[2].rpartition(":")[0]


def type_runs(types: Iterable[str]) -> list[tuple[str, int]]:
    """Return the types of a request's jobs as runs: each type with how many jobs of it follow each other."""
    return [(name, sum(1 for _ in jobs)) for name, jobs in groupby(types)]


def pack_enqueue(request: EnqueueRequest) -> bytes:
    """Return the frame of an enqueue request."""
    specs: dict[int, int] = {}
    shared: list[JobSpec] = []
    indexes: list[int] = []
    headers: dict[int, bytes] = {}
    ids: dict[str, str] = {}
    for position, job in enumerate(request.jobs):
        # Equal specs are one object within a flush. So identity is enough, and it costs less than a comparison.
        index = specs.get(id(job.spec))
        if index is None:
            index = specs[id(job.spec)] = len(shared)
            shared.append(job.spec)
        indexes.append(index)
        if job.header:
            headers[position] = job.header
        if job.job_id is not None:
            ids[str(position)] = job.job_id
    first, last = request.sequences[0], request.sequences[-1]
    contiguous = last - first + 1 == len(request.sequences)
    header: dict[str, Any] = {
        "sequences": first if contiguous else request.sequences,
        "reply_bytes": request.reply_bytes,
        "specs": [[spec.type, spec.queue, spec.options] for spec in shared],
        "spec": indexes if len(shared) > 1 else None,
        "ids": ids,
        "headers": list(headers),
    }
    if request.task_began_at is not None:
        header["task_began_at"] = request.task_began_at
    return pack(header, [job.input for job in request.jobs] + list(headers.values()))


def unpack_enqueue(frame: bytes) -> EnqueueRequest:
    """Return the request in a frame.

    Raises:
        WireError: the bytes are another kind of frame, or none.
    """
    header, bodies = unpack(frame)
    try:
        specs = [JobSpec(*spec) for spec in header["specs"]]
        ids: dict[str, str] = header["ids"]
        positions = header["headers"]
        count = len(bodies) - len(positions)
        headers = dict(zip(positions, bodies[count:], strict=True))
        indexes = header["spec"] or [0] * count
        jobs = [
            JobRequest(specs[index], body, headers.get(position, b""), ids.get(str(position)))
            for position, (index, body) in enumerate(zip(indexes, bodies[:count], strict=True))
        ]
        sequences = header["sequences"]
        if isinstance(sequences, int):
            sequences = range(sequences, sequences + count)
        return EnqueueRequest(jobs, sequences, header["reply_bytes"], header.get("task_began_at"))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        raise WireError("not an enqueue request") from None


def pack_cancel(jobs: Sequence[tuple[str, str]]) -> bytes:
    """Return the frame that asks to cancel jobs, given as (queue, job id)."""
    return pack({"jobs": jobs}, [])


def unpack_cancel(frame: bytes) -> list[tuple[str, str]]:
    """Return the (queue, job id) pairs of a cancel request.

    Raises:
        WireError: the bytes are another kind of frame, or none.
    """
    header, _ = unpack(frame)
    try:
        return [(queue, job_id) for queue, job_id in header["jobs"]]
    except (KeyError, TypeError, ValueError):
        raise WireError("not a cancel request") from None
