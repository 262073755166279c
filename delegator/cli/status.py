"""`delegator status`: all queues on one screen."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import typer

from delegator.cli.options import DatabaseOption, JsonOption, WatchOption
from delegator.cli.output import plain, print_json, print_table, repeated, shown
from delegator.config import Settings
from delegator.operating.flow import claims_per_second, run_quantile
from delegator.operating.overview import Overview, QueueState, TypeState, read_overview, size_text
from delegator.operating.reports import overview_report
from delegator.operating.states import State

_STATES: Final = (State.WAITING, State.RUNNING, State.BACKING_OFF, State.DELIVERING)
QUEUE_COLUMNS: Final = (
    "queue",
    *(state.value for state in _STATES),
    "paused",
    "oldest",
    "workers",
    "in use",
    "claims/s",
    "run p50",
    "run p99",
    "stream lag",
)
"""The columns of a queue."""
TYPE_COLUMNS: Final = ("type", *(state.value for state in _STATES), "paused", "oldest", "last_error", "queue")
"""The columns of a type."""
_DEAD_COLUMNS = ("dead letters of the last hour", "jobs", "reason", "error", "queue")
_MOST_TYPES = 15


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="status")(status_command)


def status_command(
    watch: WatchOption = False, as_json: JsonOption = False, database_url: DatabaseOption = None
) -> None:
    """Show queues, types, workers, pauses and dead letters, and what needs an operator. It reads the database only."""
    settings = Settings.load(database_url=database_url)

    def show() -> None:
        overview = asyncio.run(read_overview(settings))
        if as_json:
            print_json(overview_report(overview))
        else:
            _print(overview)

    repeated(show, watch)


def queue_row(overview: Overview, queue: QueueState) -> dict[str, Any]:
    """Return the values of `QUEUE_COLUMNS`."""
    slots = [worker.slots or 0 for worker in queue.facts.workers]
    running = sum(worker.running or 0 for worker in queue.facts.workers)
    least = "at least " if queue.is_partial else ""
    return {
        "queue": queue.queue,
        **{state.value: f"{least}{queue.jobs[state]}" for state in _STATES},
        "paused": queue.paused,
        "oldest": None if queue.oldest is None else overview.now - queue.oldest,
        "workers": len(slots),
        "in use": f"{running}/{sum(slots)}",
        "claims/s": None if (claims := claims_per_second(queue)) is None else f"{claims:.1f}",
        "run p50": run_quantile(queue, 0.5),
        "run p99": run_quantile(queue, 0.99),
        "stream lag": "no slot" if queue.slot is None else size_text(queue.slot.lag_bytes),
    }


def type_row(overview: Overview, queue: str, job_type: str, state: TypeState | None) -> dict[str, Any]:
    """Return the values of `TYPE_COLUMNS`.

    Args:
        overview: knows the time.
        queue: the queue.
        job_type: the type.
        state: what is known of its jobs; None: it has none.
    """
    found = state or TypeState(job_type)
    return {
        "type": job_type,
        **{one.value: found.jobs[one] for one in _STATES},
        "paused": found.paused,
        "oldest": None if found.oldest is None else overview.now - found.oldest,
        "last_error": found.last_error if found.is_served else "no handler in any live worker",
        "queue": queue,
    }


def _print(overview: Overview) -> None:
    print_table(QUEUE_COLUMNS, [queue_row(overview, queue) for queue in overview.queues], QUEUE_COLUMNS)
    types = [type_row(overview, queue.queue, one.job_type, one) for queue in overview.queues for one in queue.types]
    if types:
        typer.echo()
        print_table(TYPE_COLUMNS, types[:_MOST_TYPES])
        if len(types) > _MOST_TYPES:
            typer.echo(f"and {len(types) - _MOST_TYPES} more types: --json prints all")
    if overview.dead:
        typer.echo()
        rows = [
            {_DEAD_COLUMNS[0]: one.type, "jobs": one.jobs, "reason": one.reason, "error": one.error, "queue": one.queue}
            for one in overview.dead[:_MOST_TYPES]
        ]
        print_table(_DEAD_COLUMNS, rows)
    pauses = [pause for queue in overview.queues for pause in queue.facts.pauses]
    if pauses:
        typer.echo()
    for pause in pauses:
        what = f"queue {pause.queue}" if pause.job_type is None else f"type {pause.job_type} of queue {pause.queue}"
        note = "" if pause.note is None else f": {pause.note}"
        typer.echo(plain(f"{what} is paused for {shown(overview.now - pause.paused_at)} by {pause.paused_by}{note}"))
    if overview.troubles:
        typer.echo()
    for trouble in overview.troubles:
        typer.echo(plain(f"! {trouble}"))
