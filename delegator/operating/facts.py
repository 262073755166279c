"""Reads what explains the state of a queue's jobs: its workers, its pauses, and whether a maintenance process leads."""

from __future__ import annotations

from collections.abc import Sequence

from delegator.operating.states import QueueFacts
from delegator.postgres import leader_lock, leases, pauses
from delegator.postgres.connections import Connection


async def read_facts(connection: Connection, queues: Sequence[str]) -> dict[str, QueueFacts]:
    """Return the facts of some queues, by queue."""
    workers = await leases.workers(connection, queues)
    paused = await pauses.pauses(connection, queues)
    has_leader = await leader_lock.is_held(connection)
    return {
        queue: QueueFacts(
            workers=[worker for worker in workers if worker.queue == queue],
            pauses=[pause for pause in paused if pause.queue == queue],
            has_leader=has_leader,
        )
        for queue in queues
    }
