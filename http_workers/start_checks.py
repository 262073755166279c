"""What a worker refuses to start with."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from delegator.config import Settings
from delegator.contracts import Handler
from delegator.enqueue.declared_queues import require_order
from delegator.errors import ConfigurationError, StreamError
from delegator.runtime.connection_state import ConnectionState
from http_workers.options import ClaimMode, WorkerOptions
from http_workers.source import StreamRefusedError, StreamSource


async def refuse_wrong_stream(source: StreamSource, state: ConnectionState) -> None:
    """Raise errors that only a person can fix. The pollers wait for a stream that does not answer yet."""
    try:
        await source.ack([str(uuid4())])
    except StreamRefusedError:
        raise
    except StreamError as error:
        state.lost(str(error))
    else:
        state.restored()


def refuse_unordered(options: WorkerOptions, settings: Settings, handlers: Mapping[str, Handler]) -> None:
    """Refuse what needs another kind of queue or of worker.

    Raises:
        ConfigurationError: a type needs an ordered queue, or the queue is ordered and the worker does not claim.
    """
    for handler in handlers.values():
        if handler.type.queue == options.queue:
            require_order(handler.type, settings)
    if options.queue in settings.ordered_queues and options.claim is ClaimMode.NONE:
        raise ConfigurationError(
            f"queue {options.queue!r} is ordered (DELEGATOR_ORDERED_QUEUES), and the claim decides the order: "
            "run its workers without --claim none"
        )
