"""Enqueue and cancel requests, from workflow code to its local activities."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from delegator.errors import WireError
from delegator.wire.frames import head, pack, unpack

T = TypeVar("T")

ENQUEUE_ACTIVITY = "delegator.enqueue"
CANCEL_ACTIVITY = "delegator.cancel"
LOOK_ACTIVITY = "delegator.look"
PAYLOADS_TOO_LARGE = "PayloadsTooLarge"
"""The SDK's type of the error of a payload that exceeds Temporal's limit. It fails the workflow task, too."""
PAYLOAD_ERROR = "delegator.PayloadError"
"""The type of a local activity's error that is to fail the workflow task."""
MAX_JOB_ID_BYTES = 500
"""A notification has at most 8,000 bytes. It names job ids of up to 7,000 bytes, and one more, with 37 bytes for its
run."""
_OF_A_RUN = re.compile(r"(activity:)?[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}[:/]")


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
    """The id if the caller chose it: see `own_job_id`. None: the id is made of the prefix and the sequence number."""


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
    call_runs: Sequence[tuple[int, int]] | None = None
    """The jobs of each call, as runs: a number of jobs, and how many calls of so many jobs follow each other. None: a
    release that did not say so wrote the request."""
    again: bool = False
    """The run was reset, and these jobs were enqueued before the point of the reset. Those that are in the queue still
    become this run's. A request that does not say so enqueues new jobs."""


class Asked(NamedTuple):
    """What a request asks for. The reply repeats it, so that a replay can compare."""

    types: list[tuple[str, int]]
    """The types of the jobs as runs: each type with how many jobs of it follow each other."""
    queues: list[tuple[str, int]] | None = None
    """Their queues, in the same form. None: a release that did not say so wrote the reply. So for `calls`."""
    calls: list[tuple[int, int]] | None = None
    """See `EnqueueRequest.call_runs`."""


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


def activity_run_in(job_id: str) -> str | None:
    """Return the run in what `task_job_id` returned; None: it is another id."""
    kind, _, rest = job_id.partition(":")
    return rest.partition(":")[0] if kind == "activity" else None


def activity_id_in(job_id: str) -> str:
    """Return the activity's id in what `task_job_id` returned."""
    return job_id.partition(":")[2].partition(":")[2].rpartition(":")[0]


def own_job_id(prefix: str, own_id: str) -> str:
    """Return the id of a job to which a caller in this workflow run gave an id of its own.

    The id belongs to the run, as an activity id does. Another run may give the same one to another job.
    """
    return f"{prefix}/{own_id}"


def own_part(job_id: str, prefix: str) -> str | None:
    """Return what `own_job_id` made a job id of; None: it made it of something else."""
    return job_id.removeprefix(f"{prefix}/") if job_id.startswith(f"{prefix}/") else None


def is_generated_id(job_id: str, run_id: str) -> bool:
    """Return whether this is what `generated_job_id` returns for a call of a run."""
    return job_id.startswith(f"{run_id}:")


def is_unique_id(job_id: str, prefix: str) -> bool:
    """Return whether this is an id that no other job of any workflow may have, not one of a run.

    Args:
        job_id: the id.
        prefix: the run of the job.
    """
    return not job_id.startswith((f"{prefix}:", f"{prefix}/"))


def check_unique_id(job_id: str) -> None:
    """Refuse a text that can't be an id of its own across workflows.

    Raises:
        ValueError: it can't be a job id, or it looks like one that belongs to a workflow run.
    """
    check_job_id(job_id)
    if _OF_A_RUN.match(job_id):
        raise ValueError(f"a unique id must not begin like the id of a run's job: {job_id[:100]!r}")


def runs(values: Iterable[T]) -> list[tuple[T, int]]:
    """Return each value with how often it follows itself."""
    return [(value, len(list(equal))) for value, equal in groupby(values)]


def asked_for(specs: Iterable[JobSpec], call_runs: Sequence[tuple[int, int]] | None) -> Asked:
    """Return what a request asks for.

    Args:
        specs: of its jobs. Equal ones that follow each other should be one object.
        call_runs: see `EnqueueRequest`.
    """
    by_spec = [(next(same), 1 + len(list(same))) for _, same in groupby(specs, id)]
    return Asked(
        _merged((spec.type, count) for spec, count in by_spec),
        _merged((spec.queue, count) for spec, count in by_spec),
        None if call_runs is None else list(call_runs),
    )


def _merged(counted: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(name, sum(count for _, count in equal)) for name, equal in groupby(counted, itemgetter(0))]


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
    if request.call_runs is not None:
        header["calls"] = request.call_runs
    if request.again:
        header["again"] = True
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
        call_runs = header.get("calls")
        if call_runs is not None:
            call_runs = [(size, count) for size, count in call_runs]
        began_at, again = header.get("task_began_at"), header.get("again", False) is True
        return EnqueueRequest(jobs, sequences, header["reply_bytes"], began_at, call_runs, again)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        raise WireError("not an enqueue request") from None


def pack_cancel(jobs: Sequence[tuple[str, str]]) -> bytes:
    """Return the frame that asks to cancel jobs, given as (queue, job id)."""
    return pack({"jobs": jobs}, [])


def pack_look(jobs: Sequence[tuple[str, str]], *, at_deadline: bool) -> bytes:
    """Return the frame that asks for jobs.

    Args:
        jobs: as (queue, job id).
        at_deadline: also ask which of them are in time: the run has reached their deadlines.
    """
    return pack({"jobs": jobs, "at_deadline": True} if at_deadline else {"jobs": jobs}, [])


def is_at_deadline(frame: bytes) -> bool:
    """Return whether a frame of `pack_look` asks which jobs are in time."""
    return head(frame).get("at_deadline", False) is True


def unpack_cancel(frame: bytes) -> list[tuple[str, str]]:
    """Return the (queue, job id) pairs of a request to cancel jobs, or to look for them.

    Raises:
        WireError: the bytes are another kind of frame, or none.
    """
    header, _ = unpack(frame)
    try:
        return [(queue, job_id) for queue, job_id in header["jobs"]]
    except (KeyError, TypeError, ValueError):
        raise WireError("not a cancel request") from None
