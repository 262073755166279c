"""`delegator workers`: who runs jobs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from delegator.cli.options import DatabaseOption, JsonOption, QueueOption, WatchOption, check_queue
from delegator.cli.output import print_json, print_table, repeated
from delegator.config import Settings
from delegator.operating.reports import worker_report
from delegator.operating.workers import find_workers
from delegator.postgres.leases import WorkerLease

_COLUMNS = ("worker", "queue", "version", "in use", "oldest job", "types", "up", "renewed", "expires in", "lease")
_TYPES_SHOWN = 4


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="workers")(workers_command)


def workers_command(
    queue: QueueOption = None,
    expired: Annotated[bool, typer.Option("--expired", help="Also those whose lease has just expired.")] = False,
    watch: WatchOption = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """List the live workers: release, slots, running jobs, types, leases. A worker reports when it renews its lease."""
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue)
    queues = settings.queues if queue is None else (queue,)

    def show() -> None:
        found = asyncio.run(find_workers(settings, queues, expired=expired))
        if as_json:
            print_json([worker_report(worker) for worker in found])
        elif found:
            print_table(_COLUMNS, [_row(worker) for worker in found], ("worker", "in use", "expires in"))
        else:
            typer.echo(f"no live worker serves {', '.join(queues)}", err=True)

    repeated(show, watch)


def _row(worker: WorkerLease) -> dict[str, Any]:
    types = sorted(worker.job_types or ())
    more = f" and {len(types) - _TYPES_SHOWN} more" if len(types) > _TYPES_SHOWN else ""
    oldest = worker.oldest_job
    return {
        "worker": worker.holder,
        "queue": worker.queue,
        "version": worker.version,
        "in use": None if worker.slots is None else f"{worker.running}/{worker.slots}",
        "oldest job": None if oldest is None else worker.now - oldest.started_at,
        "types": ", ".join(types[:_TYPES_SHOWN]) + more,
        "up": worker.now - worker.granted_at,
        "renewed": None if worker.renewed_at is None else worker.now - worker.renewed_at,
        "expires in": worker.expires_at - worker.now if worker.is_live else "expired",
        "lease": worker.lease_id,
    }
