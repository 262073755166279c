"""Job tokens: what a worker sends to name a job that it runs. Nothing else is remembered between two requests."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Final, NamedTuple

import orjson
from delegator_schema.queues import is_queue_name

_VERSION: Final = 1
_LARGEST: Final = 2**63


class JobToken(NamedTuple):
    """Names one attempt of a job.

    A worker could make up any token. So each is compared with the row: its fencing token, and its type with what the
    bearer token allows. The two times are trusted: a worker that changes them only changes its own attempt's end.
    """

    queue: str
    """The job's queue."""
    job_id: str
    """The job."""
    fencing_token: int
    """The attempt."""
    started_ms: int
    """When the worker got the job, in ms since 1970."""
    until_ms: int | None
    """When the attempt times out, whatever its heartbeats say; None: never."""


def pack(token: JobToken) -> str:
    """Return a token as workers send it."""
    return urlsafe_b64encode(orjson.dumps([_VERSION, *token])).rstrip(b"=").decode()


def unpack(text: str) -> JobToken | None:
    """Return what a token names; None: it is none of ours."""
    try:
        fields = orjson.loads(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
        version, queue, job_id, fencing_token, started_ms, until_ms = fields
    except (Base64Error, ValueError, TypeError):
        return None
    numbers = [fencing_token, started_ms, 0 if until_ms is None else until_ms]
    if (
        version != _VERSION
        or not isinstance(queue, str)
        or not is_queue_name(queue)
        or not isinstance(job_id, str)
        or "\0" in job_id
        or not all(type(number) is int and 0 <= number < _LARGEST for number in numbers)
    ):
        return None
    return JobToken(queue, job_id, fencing_token, started_ms, until_ms)
