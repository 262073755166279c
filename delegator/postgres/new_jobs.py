"""New jobs on their way into a queue's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from delegator_schema.columns import QUEUE_COLUMNS

from delegator.postgres.arrays import bytea_array, int4_array, int8_array, text_array

_DEADLINE: Final = "clock_timestamp() + {value} * interval '1 millisecond'"


class Transport(NamedTuple):
    """How values of a column's type are sent to the server."""

    type: str
    """Type of the parameter, in SQL."""
    pack: Callable[[Sequence[Any]], object]
    """Packs many of them."""
    cast: str = ""
    """Turns the parameter into the column's type."""


_TRANSPORTS: Final[Mapping[str, Transport]] = MappingProxyType(
    {
        "bigint": Transport("int8", int8_array),
        "bytea": Transport("bytea", bytea_array),
        "integer": Transport("int4", int4_array),
        "jsonb": Transport("text", text_array, "::jsonb"),
        "text": Transport("text", text_array),
        "uuid": Transport("text", text_array, "::uuid"),
    }
)


class NewJob(NamedTuple):
    """A job to insert."""

    job_id: str
    """Its unique id."""
    job_type: str
    """The delegated activity type."""
    input: bytes | None
    """Serialized `Payloads`, through the codec."""
    header: bytes | None
    """Serialized `Header`."""
    options: str | None
    """JSON of the `options` column."""
    workflow_id: str | None
    """Workflow to signal."""
    run_id: str | None
    """Its run."""
    task_token: bytes | None
    """Activity task to complete."""
    deadline_ms: int | None
    """Milliseconds from now until the job's deadline."""
    waiter_id: int | None
    """Lease of the enqueuer that waits inline."""
    heartbeat_details: bytes | None = None
    """Serialized `Payloads` of an earlier attempt's last heartbeat."""
    attempt: int = 0
    """Attempts made before, if Temporal counts them."""


class Source(NamedTuple):
    """How a field of `NewJob` becomes a column."""

    column: str
    """The column."""
    transport: Transport
    """How the field's values travel."""
    expression: str
    """SQL of the column's value; `{value}` stands for the parameter."""


def _sources() -> Mapping[str, Source]:
    types = {column.name: column.type for column in QUEUE_COLUMNS}
    sources = {"deadline_ms": Source("deadline", _TRANSPORTS["bigint"], _DEADLINE)}
    for name in NewJob._fields:
        if name not in sources:
            transport = _TRANSPORTS[types[name]]
            sources[name] = Source(name, transport, f"{{value}}{transport.cast}")
    return MappingProxyType({name: sources[name] for name in NewJob._fields})


SOURCES: Final = _sources()
"""How each field becomes a column."""
