"""Packs outcomes of jobs for their workflow: into a local activity's result or into a signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from delegator.errors import WireError
from delegator.wire.frames import head, pack, unpack
from delegator.wire.requests import Asked

SIGNAL_NAME = "delegator.outcomes"
"""The signal that carries outcomes to a workflow run."""


class OutcomeStatus(StrEnum):
    """How a job ended. The `outcome` column holds these values."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


_LETTERS = {OutcomeStatus.COMPLETED: "c", OutcomeStatus.FAILED: "f", OutcomeStatus.CANCELED: "x"}
_STATUSES = {letter: status for status, letter in _LETTERS.items()}
_PENDING = "."


class Outcome(NamedTuple):
    """How a job ended."""

    status: OutcomeStatus
    """Completed, failed or canceled."""
    body: bytes
    """If completed: the result, a serialized `Payloads`. Else: a serialized `Failure` with activity failure info."""


def pack_signal(outcomes: Sequence[tuple[str, Outcome]]) -> bytes:
    """Return the frame of a signal with these outcomes by job id."""
    return pack(
        {
            "ids": [job_id for job_id, _ in outcomes],
            "statuses": "".join(_LETTERS[outcome.status] for _, outcome in outcomes),
        },
        [outcome.body for _, outcome in outcomes],
    )


def unpack_signal(frame: bytes) -> list[tuple[str, Outcome]]:
    """Return the outcomes in a signal's frame.

    Raises:
        WireError: the bytes are another kind of frame, or none.
    """
    header, bodies = unpack(frame)
    try:
        return [
            (job_id, Outcome(_STATUSES[letter], body))
            for job_id, letter, body in zip(header["ids"], header["statuses"], bodies, strict=True)
        ]
    except (KeyError, TypeError, ValueError):
        raise WireError("not a frame of outcomes") from None


class Reply(NamedTuple):
    """The reply to an enqueue request."""

    id_prefix: str
    """The prefix of the ids of jobs without their own id. History records it, because a reset run replays this reply
    under another run id."""
    outcomes: list[Outcome | None]
    """For each job of the request, its outcome; None: a signal will bring it."""
    asked: Asked
    """What the request asked for. A replay compares it with what the workflow asks for."""
    look_ms: int | None = None
    """After how long the workflow asks for jobs without an outcome; 0: never. None: the reply has all outcomes, or an
    older release wrote it. Then the workflow takes no timer: a replay must do what was done when history was recorded.
    """
    is_searchable: bool = False
    """The run sets its search attributes. A reply that does not say so is of a worker where that is off, or has all
    outcomes, or an older release wrote it."""
    asks_at_deadline: bool = False
    """The workflow asks the queue before it times a call out, because a paused job's deadline stands still. An older
    release did not ask. A replay must do what was done when history was recorded."""


def pack_reply(
    id_prefix: str,
    outcomes: Mapping[int, Outcome],
    asked: Asked,
    *,
    look_ms: int | None = None,
    is_searchable: bool = False,
) -> bytes:
    """Return the reply to an enqueue request: the outcomes that are known, by position.

    Args:
        id_prefix: see `Reply`.
        outcomes: those known, by the job's position in the request.
        asked: see `Reply`.
        look_ms: see `Reply`. It is left out if all outcomes are known.
        is_searchable: see `Reply`. It is left out as well.
    """
    statuses = [_PENDING] * sum(count for _, count in asked.types)
    for position, outcome in outcomes.items():
        statuses[position] = _LETTERS[outcome.status]
    header: dict[str, Any] = {"prefix": id_prefix, "types": asked.types, "statuses": "".join(statuses)}
    if asked.queues is not None:
        header["queues"] = asked.queues
    if asked.calls is not None:
        header["calls"] = asked.calls
    if len(outcomes) < len(statuses):
        if look_ms is not None:
            header |= {"look_ms": look_ms, "asks_at_deadline": True}
        if is_searchable:
            header["searchable"] = True
    return pack(
        header,
        [outcomes[position].body for position in sorted(outcomes)],
    )


def count_reply(frame: bytes) -> tuple[int, int]:
    """Return how many jobs a request had, and how many outcomes its reply holds.

    Raises:
        WireError: the frame is not a reply to an enqueue request.
    """
    statuses = head(frame).get("statuses")
    if not isinstance(statuses, str):
        raise WireError("not a reply to an enqueue request")
    return len(statuses), len(statuses) - statuses.count(_PENDING)


def unpack_reply(frame: bytes) -> Reply:
    """Return the reply in a frame.

    Raises:
        WireError: the bytes are another kind of frame, or none.
    """
    header, bodies = unpack(frame)
    rest = iter(bodies)
    try:
        outcomes = [
            None if letter == _PENDING else Outcome(_STATUSES[letter], next(rest)) for letter in header["statuses"]
        ]
        asked = Asked(_pairs(header["types"]), *(_optional_pairs(header.get(key)) for key in ("queues", "calls")))
        look_ms = header.get("look_ms")
        flags = [header.get(name, False) is True for name in ("searchable", "asks_at_deadline")]
        return Reply(header["prefix"], outcomes, asked, None if look_ms is None else int(look_ms), *flags)
    except (KeyError, TypeError, ValueError, StopIteration):
        raise WireError("not a reply to an enqueue request") from None


def _pairs(encoded: Sequence[Any]) -> list[tuple[Any, int]]:
    return [(value, count) for value, count in encoded]


def _optional_pairs(encoded: Sequence[Any] | None) -> list[tuple[Any, int]] | None:
    return None if encoded is None else _pairs(encoded)
