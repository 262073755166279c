"""Makes the loops that take jobs: those of an ordered queue, or those of a plain one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeAlias

from delegator.contracts import Handler
from delegator.postgres.queue_order import OrderStatements
from delegator.postgres.queue_table import QueueTable
from delegator.runtime.liveness import Progress
from http_workers.fleet import FleetGate
from http_workers.job import Job
from http_workers.options import WorkerOptions
from http_workers.ordered import OrderedReceiver
from http_workers.receiver import Receiver
from http_workers.receiver_parts import ReceiverParts

_POLLERS: Final = 2

Loops: TypeAlias = dict[str, Callable[[Progress], Coroutine[Any, Any, None]]]
"""By the name in `/livez`: loops that run until they are cancelled."""


def job_loops(
    parts: ReceiverParts, table: QueueTable, options: WorkerOptions, handlers: Mapping[str, Handler]
) -> tuple[Loops, Callable[[Job], None] | None]:
    """Return the loops that take jobs, and what to call when a job is finished.

    Args:
        parts: what a receiver is made of.
        table: the queue's table.
        options: of the worker.
        handlers: by delegated activity type.
    """
    if table.ordered:
        order = OrderStatements(table.queue)
        ordered = OrderedReceiver(parts, order=order, gate=FleetGate(handlers, order))
        return {"receive": ordered.listen, "claim": ordered.claim}, ordered.ended
    receiver = Receiver(parts, table=table, claim_mode=options.claim)
    share = -(-options.concurrency // _POLLERS)
    loops: Loops = {
        f"receive_{number}": lambda progress: receiver.poll(progress, share)
        for number in range(min(_POLLERS, options.concurrency))
    }
    return loops, None
