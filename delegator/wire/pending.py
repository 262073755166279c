"""The query by which maintenance asks a workflow run which jobs of an earlier run it waits for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from delegator.errors import WireError
from delegator.wire.frames import pack, unpack

PENDING_QUERY: Final = "delegator.pending"
"""The query. It asks about job ids, and is answered with those of them that the run waits for.

Without job ids it is answered for people: with JSON."""


def pack_job_ids(job_ids: Iterable[str]) -> bytes:
    """Return the frame of a question or of its answer."""
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
