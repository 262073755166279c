"""The local activities into which the calls of one flush are divided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, repeat

from delegator.workflow.calls import Call

_JOBS_PER_REQUEST = 2_000
_BYTES_PER_REQUEST = 4 * 1024 * 1024


def chunks_of(calls: Sequence[Call]) -> Iterable[Sequence[Call]]:
    """Divide calls into those of one request each."""
    start = size = 0
    for position, call in enumerate(calls):
        weight = len(call.request.input) + len(call.request.header)
        if position > start and (position - start >= _JOBS_PER_REQUEST or size + weight > _BYTES_PER_REQUEST):
            yield calls[start:position]
            start, size = position, 0
        size += weight
    if start < len(calls):
        yield calls[start:]


def batched(calls: Sequence[Call], most: int) -> Iterable[Sequence[Call]]:
    """Divide calls into batches of at most `most`."""
    return (calls[start : start + most] for start in range(0, len(calls), most))


def use_queues(calls: Sequence[Call], recorded: Sequence[tuple[str, int]] | None) -> None:
    """Note in which queues the jobs are. The workflow's code may name others since they were enqueued."""
    queues = chain.from_iterable(repeat(*run) for run in recorded or ())
    for call, queue in zip(calls, queues, strict=False):
        if call.spec.job.queue != queue:
            call.spec = replace(call.spec, job=replace(call.spec.job, queue=queue))
