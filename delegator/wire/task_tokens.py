"""Task tokens of delegated jobs. A client completes an attempt by one, as it does with an activity task's token."""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson

from delegator.errors import WireError

_PREFIX: Final = b"temporal-delegator:"
_VERSION: Final = 1


class TaskToken(NamedTuple):
    """Names one attempt of a job."""

    queue: str
    """The job's queue."""
    job_id: str
    """The job."""
    fencing_token: int
    """The attempt."""


def pack_task_token(token: TaskToken) -> bytes:
    """Return a token as `activity.info().task_token` gives it."""
    return _PREFIX + orjson.dumps([_VERSION, *token])


def unpack_task_token(data: bytes) -> TaskToken | None:
    """Return what a token names; None: it is a token of Temporal's own.

    Raises:
        WireError: a later release wrote it.
    """
    if not data.startswith(_PREFIX):
        return None
    try:
        version, *fields = orjson.loads(data[len(_PREFIX) :])
        if version != _VERSION:
            raise WireError(f"the task token has the format version {version}, and this release reads {_VERSION}")
        queue, job_id, fencing_token = fields
        return TaskToken(str(queue), str(job_id), int(fencing_token))
    except (ValueError, TypeError):
        raise WireError("the task token is damaged") from None
