"""`delegator queues` and `delegator types`: what they hold, and pause, resume and drain them."""

from __future__ import annotations

import asyncio
import getpass
import socket
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from delegator.cli.options import DatabaseOption, JsonOption, QueueOption, WatchOption, check_queue
from delegator.cli.output import plain, print_json, print_table, repeated
from delegator.cli.status import QUEUE_COLUMNS, TYPE_COLUMNS, queue_row, type_row
from delegator.cli.type_schemas import types_command
from delegator.config import Settings
from delegator.durations import parse_duration
from delegator.operating import pausing
from delegator.operating.canary_type import CANARY
from delegator.operating.overview import Overview, read_overview
from delegator.operating.reports import queue_report
from delegator.operating.states import State

QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="A declared queue.")]
TypeArgument = Annotated[str, typer.Argument(metavar="TYPE", help="A delegated activity type.")]
NoteOption = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why, for others to read.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Also wait until no attempt of it runs.")]
TimeoutOption = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="Give up after this time, with exit code 1. Default: wait."),
]
OnlyQueueOption = Annotated[str | None, typer.Option("--queue", metavar="NAME", help="Only in this queue.")]
_TYPE_LIST: Final = (*TYPE_COLUMNS[:-1], "handled by", "queue")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    queues = typer.Typer(
        name="queues", help="Queues: list, pause, resume, drain.", no_args_is_help=True, rich_markup_mode=None
    )
    queues.command(name="list")(list_queues)
    queues.command(name="pause")(pause_queue)
    queues.command(name="resume")(resume_queue)
    queues.command(name="drain")(drain_queue)
    app.add_typer(queues)
    types = typer.Typer(name="types", no_args_is_help=True, rich_markup_mode=None)
    types.callback(invoke_without_command=True)(types_command)
    types.command(name="list")(list_types)
    types.command(name="pause")(pause_type)
    types.command(name="resume")(resume_type)
    types.command(name="drain")(drain_type)
    app.add_typer(types)


def list_queues(watch: WatchOption = False, as_json: JsonOption = False, database_url: DatabaseOption = None) -> None:
    """List the queues: their jobs by state, how many are paused, the oldest, the workers."""
    settings = Settings.load(database_url=database_url)

    def show() -> None:
        overview = asyncio.run(read_overview(settings))
        if as_json:
            print_json([queue_report(queue) for queue in overview.queues])
        else:
            columns = (*QUEUE_COLUMNS, "is paused")
            print_table(columns, [_queue(overview, queue) for queue in overview.queues], columns)

    repeated(show, watch)


def pause_queue(
    queue: QueueArgument,
    note: NoteOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Let no attempt of a queue's jobs start until `resume`. Their deadlines stand still; running attempts go on.

    When it returns, the live workers of the queue know. That takes at most a third of DELEGATOR_LEASE.
    """
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue, "queue ")
    _pause(settings, (queue,), None, note, wait=wait, as_json=as_json)


def resume_queue(queue: QueueArgument, as_json: JsonOption = False, database_url: DatabaseOption = None) -> None:
    """End the pause of a queue. Deadlines move by the length of the pause. A type that is paused itself stays so."""
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue, "queue ")
    _resume(settings, (queue,), None, as_json=as_json)


def drain_queue(
    queue: QueueArgument,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Wait until the jobs that are in a queue now have ended and are delivered. Later ones are not waited for."""
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue, "queue ")
    _drain(settings, (queue,), None, timeout, as_json=as_json)


def list_types(
    queue: QueueOption = None,
    watch: WatchOption = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """List the types that have jobs, a live worker or a pause: jobs by state, the last error, how many workers."""
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue)

    def show() -> None:
        rows = _types(asyncio.run(read_overview(settings)), queue)
        if as_json:
            print_json([_plain_values(row) for row in rows])
        elif rows:
            print_table((*_TYPE_LIST, "is paused"), rows, ("type", "is paused"))
        else:
            typer.echo("no types: no live worker, and no job", err=True)

    repeated(show, watch)


def pause_type(
    job_type: TypeArgument,
    queue: OnlyQueueOption = None,
    note: NoteOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Let no attempt of a type's jobs start until `resume`. Their deadlines stand still; running attempts go on.

    It is paused in all declared queues, or in that of --queue. When the command returns, the live workers know. That
    takes at most a third of DELEGATOR_LEASE.
    """
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue)
    queues = _queues(settings, queue)
    if not any(one.jobs or one.running for one in _pause(settings, queues, job_type, note, wait=wait, as_json=as_json)):
        _tell_unknown(settings, queues, job_type)


def _tell_unknown(settings: Settings, queues: Sequence[str], job_type: str) -> None:
    """Say that nobody knows a type: its name may be misspelt, or its first worker is still to come."""
    overview = asyncio.run(read_overview(settings))
    if not any(queue.facts.serves(job_type) for queue in overview.queues if queue.queue in queues):
        text = f"type {job_type} has no jobs, and no live worker has a handler for it: is the name right?"
        typer.echo(plain(f"{text} `delegator types resume {job_type}` takes the pause back"), err=True)


def resume_type(
    job_type: TypeArgument,
    queue: OnlyQueueOption = None,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """End the pause of a type. Deadlines move by the length of the pause. Its jobs in a paused queue stay paused."""
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue)
    _resume(settings, _queues(settings, queue), job_type, as_json=as_json)


def drain_type(
    job_type: TypeArgument,
    queue: OnlyQueueOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Wait until the jobs of a type that are enqueued now have ended and are delivered."""
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue)
    _drain(settings, _queues(settings, queue), job_type, timeout, as_json=as_json)


def _queues(settings: Settings, queue: str | None) -> tuple[str, ...]:
    return settings.queues if queue is None else (queue,)


def _pause(
    settings: Settings, queues: Sequence[str], job_type: str | None, note: str | None, *, wait: bool, as_json: bool
) -> Sequence[pausing.Paused]:
    """Pause a type, or whole queues, and say what was paused."""
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    done = asyncio.run(pausing.pause(settings, queues, job_type, paused_by=who, note=note, wait=wait))
    if as_json:
        print_json(
            [
                {
                    "queue": one.queue,
                    "type": job_type,
                    "was_paused": one.was_paused,
                    "jobs": one.jobs,
                    "running": one.running,
                }
                for one in done
            ]
        )
    for one in done:
        what = _named(one.queue, job_type)
        if not as_json:
            was = "was paused already" if one.was_paused else "is paused"
            typer.echo(f"{what} {was}: {one.jobs} jobs wait, {one.running} still run")
        if one.unaware:
            typer.echo(plain(f"{what}: of an earlier release, and do not know: {', '.join(one.unaware)}"), err=True)
    return done


def _resume(settings: Settings, queues: Sequence[str], job_type: str | None, *, as_json: bool) -> None:
    freed = asyncio.run(pausing.resume(settings, queues, job_type))
    if as_json:
        print_json([{"queue": queue, "type": job_type, "freed": jobs} for queue, jobs in freed.items()])
        return
    for queue, jobs in freed.items():
        if jobs is not None:
            typer.echo(f"{_named(queue, job_type)} goes on: {jobs} jobs are free")
    if all(jobs is None for jobs in freed.values()):
        typer.echo("not paused: nothing was changed", err=True)


def _drain(
    settings: Settings, queues: Sequence[str], job_type: str | None, timeout: str | None, *, as_json: bool
) -> None:
    limit = None if timeout is None else parse_duration(timeout, "--timeout")
    last = -1

    def tell(left: int) -> None:
        nonlocal last
        if left != last and left and sys.stderr.isatty():
            typer.echo(f"{left} jobs left", err=True)
        last = left

    left = asyncio.run(pausing.drain(settings, queues, job_type, limit=limit, tell=tell))
    if as_json:
        print_json({"queues": list(queues), "type": job_type, "left": left})
    else:
        typer.echo(f"{left} jobs are left" if left else "drained")
    if left:
        raise typer.Exit(1)


def _named(queue: str, job_type: str | None) -> str:
    return f"queue {queue}" if job_type is None else f"type {job_type} in queue {queue}"


def _queue(overview: Overview, queue: Any) -> dict[str, Any]:
    is_paused = any(pause.job_type is None for pause in queue.facts.pauses)
    return {**queue_row(overview, queue), "is paused": "yes" if is_paused else ""}


def _types(overview: Overview, wanted: str | None) -> list[dict[str, Any]]:
    rows = []
    for queue in overview.queues:
        if wanted not in (None, queue.queue):
            continue
        handled: dict[str, int] = {}
        for worker in queue.facts.workers:
            for name in worker.job_types or ():
                handled[name] = handled.get(name, 0) + 1
        seen = {one.job_type: one for one in queue.types}
        paused = {pause.job_type for pause in queue.facts.pauses}
        for name in sorted({*handled, *seen, *(name for name in paused if name is not None)}):
            rows.append(
                {
                    **type_row(overview, queue.queue, name, seen.get(name)),
                    "handled by": len(queue.facts.workers) if name == CANARY else handled.get(name, 0),
                    "is paused": "yes" if name in paused or None in paused else "",
                }
            )
    return rows


def _plain_values(row: dict[str, Any]) -> dict[str, Any]:
    states: dict[str, Any] = {state.value: row[state.value] for state in State if state.value in row}
    return {
        "type": row["type"],
        "queue": row["queue"],
        **states,
        "paused": row["paused"],
        "oldest_seconds": None if row["oldest"] is None else row["oldest"].total_seconds(),
        "last_error": row["last_error"],
        "workers": row["handled by"],
        "is_paused": row["is paused"] == "yes",
    }
