"""`delegator jobs` and `delegator explain`: what waits, runs and fails, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from delegator.cli.job_selection import (
    ErrorOption,
    JobArgument,
    SinceOption,
    StateOption,
    UntilOption,
    selection_of,
    states_of,
)
from delegator.cli.job_steps import cancel_command, retry_command
from delegator.cli.options import (
    DatabaseOption,
    JsonOption,
    QueueOption,
    TypeOption,
    WatchOption,
    WorkflowOption,
    check_queue,
)
from delegator.cli.output import print_fields, print_json, print_table, repeated, shown
from delegator.config import Settings
from delegator.maintenance import dead_letters
from delegator.maintenance.dead_letter_report import summary
from delegator.operating import jobs
from delegator.operating.jobs import ExplainedJob
from delegator.operating.reports import explanation_summary, job_details, job_summary, timeline_report
from delegator.operating.states import UNFINISHED, State
from delegator.operating.timeline import Moment, timeline, timeline_of_dead_letter
from delegator.postgres.dead_letters import DeadLetter, Selection
from delegator.postgres.job_views import JobSelection

_LIST_LIMIT = "100"
_COLUMNS = ("job_id", "state", "reason", "queue", "type", "attempt", "age", "next", "error", "worker", "workflow_id")
_DEAD_COLUMNS = ("id", "died_at", "queue", "type", "reason", "error", "attempt", "job_id", "workflow_id")
_DEFAULT_STATES = (*UNFINISHED, State.DELIVERING)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        name="jobs",
        help="Jobs: what waits, runs and fails, and why.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(name="list")(list_command)
    group.command(name="show")(show_command)
    group.command(name="explain")(explain_command)
    group.command(name="cancel")(cancel_command)
    group.command(name="retry")(retry_command)
    app.add_typer(group)
    app.command(name="explain")(explain_command)


def list_command(
    queue: QueueOption = None,
    job_type: TypeOption = None,
    state: StateOption = None,
    error: ErrorOption = None,
    workflow_id: WorkflowOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[str, typer.Option("--limit", metavar="N", help="The first N.")] = _LIST_LIMIT,
    watch: WatchOption = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """List the jobs that have not ended, or whose outcome is not delivered. No payload is printed.

    Those come first that were published first: when they were enqueued, or when the stream had to bring them again.
    With --state dead it lists dead letters, as `delegator dlq list`.
    """
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue)
    states = states_of(state) or list(_DEFAULT_STATES)
    given = selection_of(job_type, workflow_id, error, since, until, limit)
    repeated(lambda: _list(settings, queue, states, given, as_json=as_json), watch)


def show_command(job_id: JobArgument, as_json: JsonOption = False, database_url: DatabaseOption = None) -> None:
    """Show one job with its timeline: attempts, failures and delays. Its arguments are not printed."""
    settings = Settings.load(database_url=database_url)
    found, letters = asyncio.run(jobs.one(settings, job_id))
    if found is not None:
        moments = timeline(found.job, found.explanation)
        details = job_details(found, moments)
    else:
        moments = timeline_of_dead_letter(letters[0])
        details = {**summary(letters[0]), "state": State.DEAD.value, "timeline": timeline_report(moments)}
    if found is not None and letters:
        details["dead_letters"] = [letter.id for letter in letters]
    if as_json:
        print_json(details)
        return
    print_fields({name: value for name, value in details.items() if name != "timeline" and value not in ({}, False)})
    typer.echo("timeline")
    _print_timeline(moments)


def explain_command(job_id: JobArgument, as_json: JsonOption = False, database_url: DatabaseOption = None) -> None:
    """Say why a job is where it is, since when, what would have to happen, and when it is looked at next."""
    settings = Settings.load(database_url=database_url)
    found, letters = asyncio.run(jobs.one(settings, job_id))
    explained = explanation_summary(found) if found is not None else _dead(letters[0])
    if as_json:
        print_json(explained)
        return
    reason = f" ({explained['reason']})" if explained["reason"] else ""
    typer.echo(f"{explained['state']}{reason}: {explained['text']}")
    print_fields({"since": explained["since"], "needs": explained["needs"], "looked_at": explained["next_look_at"]}, 10)


def _list(settings: Settings, queue: str | None, states: list[State], given: dict[str, Any], *, as_json: bool) -> None:
    if states == [State.DEAD]:
        letters = asyncio.run(dead_letters.find(settings, Selection(queue=queue, newest_first=True, **given)))
        _print([summary(letter) for letter in letters], _DEAD_COLUMNS, as_json, given["limit"])
        return
    queues = settings.queues if queue is None else (queue,)
    found = asyncio.run(jobs.find(settings, queues, JobSelection(states=states, **given)))
    rows = [job_summary(one) for one in found]
    if not as_json:
        rows = [{**row, **_ages(one)} for row, one in zip(rows, found, strict=True)]
    _print(rows, _COLUMNS, as_json, given["limit"])


def _ages(found: ExplainedJob) -> dict[str, Any]:
    at = found.explanation.next_look_at
    return {
        "age": shown(found.job.now - found.job.enqueued_at),
        "next": None if at is None else f"in {shown(at - found.job.now)}",
    }


def _print(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool, limit: int) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        print_table(columns, rows, ("state", "attempt", "age", "next"))
        if len(rows) == limit:
            typer.echo(f"There may be more than these {limit}: narrow the choice, or raise --limit.", err=True)
    else:
        typer.echo("no such jobs", err=True)


def _print_timeline(moments: list[Moment]) -> None:
    for moment in moments:
        at = "not known" if moment.at is None else f"{moment.at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
        typer.echo(f"  {at:<23}  {moment.event:<15}  {moment.detail}")


def _dead(letter: DeadLetter) -> dict[str, Any]:
    return {
        "job_id": letter.job_id,
        "queue": letter.queue,
        "type": letter.type,
        "state": State.DEAD.value,
        "reason": letter.reason,
        "since": letter.died_at.isoformat(),
        "text": f"Attempt {letter.attempt} failed with {letter.error}, and the queue gave the job up.",
        "needs": f"`delegator dlq show {letter.id}`, then `delegator dlq replay {letter.id}`",
        "next_look_at": None,
        "deadline": None,
    }
