"""`delegator dlq`: jobs that the queue gave up on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Annotated, Any

import typer
from delegator_schema.outbox import CANCEL, OUTBOX_QUEUE, SIGNAL, SIGNAL_WITH_START, START

from delegator.cli.options import (
    AllOption,
    DatabaseOption,
    DryRunOption,
    JsonOption,
    QueueOption,
    TypeOption,
    WorkflowOption,
    YesOption,
    bounds,
    check_queue,
)
from delegator.cli.output import confirmed, plain, print_json, print_table, whole_positive
from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.maintenance import dead_letters
from delegator.maintenance.dead_letter_report import describe, summary
from delegator.maintenance.dead_letters import Replayed
from delegator.postgres.dead_letters import JOB, DeadLetter, Reason, Selection
from delegator.runtime.modules import add_current_directory
from delegator.runtime.temporal_client import load_data_converter

KINDS = (JOB, START, SIGNAL, SIGNAL_WITH_START, CANCEL)
_LIST_LIMIT = "100"
_IDS_SHOWN = 10
_COLUMNS = ("id", "died_at", "kind", "queue", "type", "reason", "error", "attempt", "job_id", "workflow_id")


IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A dead letter's id, as listed.")]
IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Dead letters' ids, as listed.")]
KindOption = Annotated[
    str | None,
    typer.Option("--kind", metavar="KIND", help=f"One of {', '.join(KINDS)}: jobs, or operations of the outbox."),
]
ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="REASON", help=f"One of {', '.join(Reason)}.")]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="Died since: an ISO 8601 time, or 90s, 1h30m, PT1H ago."),
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Died before: as --since.")]
LimitOption = Annotated[str | None, typer.Option("--limit", metavar="N", help="The oldest N.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        name="dlq",
        help="Dead letters: jobs that the queue gave up on, and operations of the outbox that Temporal refused.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(name="list")(list_command)
    group.command(name="show")(show_command)
    group.command(name="replay")(replay_command)
    group.command(name="purge")(purge_command)
    app.add_typer(group)


def list_command(
    queue: QueueOption = None,
    kind: KindOption = None,
    job_type: TypeOption = None,
    reason: ReasonOption = None,
    workflow_id: WorkflowOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[str, typer.Option("--limit", metavar="N", help="The newest N.")] = _LIST_LIMIT,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """List dead letters, the newest first. Nothing that a payload codec hides is printed."""
    settings = Settings.load(database_url=database_url)
    filters = _filters(settings, queue, kind, job_type, reason, workflow_id, since, until, limit)
    selection = Selection(**filters, newest_first=True)
    letters = asyncio.run(dead_letters.find(settings, selection))
    if as_json:
        print_json([summary(letter) for letter in letters])
    elif letters:
        _print_table(letters)
        if len(letters) == selection.limit:
            these = "this one" if len(letters) == 1 else f"these {limit}"
            typer.echo(f"There may be more than {these}: narrow the choice, or raise --limit.", err=True)
    else:
        typer.echo("no dead letters", err=True)


def show_command(
    dead_letter_id: IdArgument,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Print the arguments, headers and error details, too: decoded.")
    ] = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Show one dead letter with its failure, decoded by DELEGATOR_DATA_CONVERTER; without its payloads by default."""
    settings = Settings.load(database_url=database_url)
    described = asyncio.run(_describe(settings, _id(dead_letter_id), payloads=payloads))
    if as_json:
        print_json(described)
        return
    for line in _lines(described):
        typer.echo(line)


def replay_command(
    ids: IdsArgument = None,
    queue: QueueOption = None,
    kind: KindOption = None,
    job_type: TypeOption = None,
    reason: ReasonOption = None,
    workflow_id: WorkflowOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = None,
    everything: AllOption = False,
    signal: Annotated[
        bool,
        typer.Option("--signal/--detach", help="Signal the outcome to the workflow again, or run a plain job."),
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Enqueue jobs again, as new: attempt 0, the same job id, timeouts from now; their dead letters are deleted.

    Operations of the outbox are written to it again, behind those that wait, with the same request id.

    A job whose id is in the queue is left a dead letter; if any is, the exit code is 1. A completed row is in the
    queue for a few seconds after the job's death: try again then.

    Its workflow got the failure, and went on. So by default (--detach) the replayed job belongs to no
    workflow: its handler runs, its result is dropped, and if it fails for good it becomes a dead letter again.
    With --signal the workflow gets the outcome. That helps only a run which waits for this job once more, because
    it was reset to a point after the job was enqueued and before it got the failure. Any other run ignores it;
    if the workflow is closed, the outcome is dropped as orphaned.
    """
    settings = Settings.load(database_url=database_url)
    selection = _selection(
        ids, _filters(settings, queue, kind, job_type, reason, workflow_id, since, until, limit), everything
    )
    letters = asyncio.run(dead_letters.find(settings, selection))
    manner = "and signal their workflows" if signal else "as plain jobs"
    if dry_run:
        _would("replay", letters, as_json=as_json)
        return
    if not letters or not _confirmed("replay", letters, f" {manner}", yes):
        _nothing_done(letters, {"replayed": [], "in_queue": [], "gone": []} if as_json else None)
        return
    result = asyncio.run(dead_letters.replay(settings, letters, signal=signal))
    if as_json:
        names = ("replayed", "in_queue", "gone")
        print_json({name: [summary(letter) for letter in getattr(result, name)] for name in names})
    else:
        typer.echo(f"replayed {_count(result.replayed)}")
    for line in _left_lines(result):
        typer.echo(line, err=True)
    if result.gone:
        typer.echo(f"{_count(result.gone)} went away meanwhile", err=True)
    if result.in_queue:
        raise typer.Exit(1)


def purge_command(
    ids: IdsArgument = None,
    queue: QueueOption = None,
    kind: KindOption = None,
    job_type: TypeOption = None,
    reason: ReasonOption = None,
    workflow_id: WorkflowOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Delete dead letters for good."""
    settings = Settings.load(database_url=database_url)
    selection = _selection(
        ids, _filters(settings, queue, kind, job_type, reason, workflow_id, since, until, limit), everything
    )
    letters = asyncio.run(dead_letters.find(settings, selection))
    if dry_run:
        _would("purge", letters, as_json=as_json)
        return
    if not letters or not _confirmed("purge", letters, " for good", yes):
        _nothing_done(letters, {"purged": 0} if as_json else None)
        return
    count = asyncio.run(dead_letters.purge(settings, letters))
    if as_json:
        print_json({"purged": count})
    else:
        typer.echo(f"purged {_number_of(count)}")


def _left_lines(result: Replayed) -> list[str]:
    """Return a line for each queue and each reason why dead letters were left."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for letter in result.in_queue:
        groups.setdefault((letter.queue, letter.id in result.completed), []).append(letter.id)
    lines = []
    for (queue, is_completed), ids in sorted(groups.items()):
        why = (
            "the completed rows of their jobs are kept for a few seconds more; try again then"
            if is_completed
            else "operations with the same keys wait there"
            if queue == OUTBOX_QUEUE
            else "jobs with the same ids wait or run there"
        )
        more = f" and {len(ids) - _IDS_SHOWN} more" if len(ids) > _IDS_SHOWN else ""
        shown = ", ".join(map(str, ids[:_IDS_SHOWN]))
        lines.append(f"left {_number_of(len(ids))} of queue {queue} ({shown}{more}): {why}")
    return lines


def _filters(
    settings: Settings,
    queue: str | None,
    kind: str | None,
    job_type: str | None,
    reason: str | None,
    workflow_id: str | None,
    since: str | None,
    until: str | None,
    limit: str | None,
) -> dict[str, Any]:
    """Return what was given, as `Selection` takes it."""
    check_queue(settings, queue)
    if reason is not None and reason not in list(Reason):
        raise ConfigurationError(f"--reason {reason}: none of {', '.join(Reason)}")
    if kind is not None and kind not in KINDS:
        raise ConfigurationError(f"--kind {kind}: none of {', '.join(KINDS)}")
    given = {
        "queue": queue,
        "kind": kind,
        "job_type": job_type,
        "reason": reason,
        "workflow_id": workflow_id,
        **bounds(since, until, limit),
    }
    return {name: value for name, value in given.items() if value is not None}


def _selection(ids: list[str] | None, filters: dict[str, Any], everything: bool) -> Selection:
    if bool(ids) + bool(filters) + everything != 1:
        raise ConfigurationError("say which: ids, or filters (--queue, --type, --reason, ...), or --all")
    return Selection(ids=tuple(dict.fromkeys(map(_id, ids))) if ids else None, **filters)


def _id(text: str) -> int:
    return whole_positive(text, f"{text}: not the id of a dead letter: see `delegator dlq list`")


def _would(action: str, letters: list[DeadLetter], *, as_json: bool) -> None:
    if as_json:
        print_json({f"would_{action}": [summary(letter) for letter in letters]})
    else:
        typer.echo(f"would {action} {_count(letters)}")


def _confirmed(action: str, letters: list[DeadLetter], manner: str, yes: bool) -> bool:
    queues = ", ".join(f"{count} of {queue}" for queue, count in sorted(Counter(map(_queue_of, letters)).items()))
    return confirmed(action, f"{action} {_count(letters)} ({queues}){manner}?", yes)


def _nothing_done(letters: list[DeadLetter], as_json: dict[str, Any] | None) -> None:
    if as_json is not None:
        print_json(as_json)
    typer.echo("nothing was changed" if letters else "no such dead letters: nothing to do", err=True)
    if letters:
        raise typer.Exit(1)


async def _describe(settings: Settings, dead_letter_id: int, *, payloads: bool) -> dict[str, Any]:
    add_current_directory()
    converter = load_data_converter(settings.data_converter)
    (letter,) = await dead_letters.find(settings, Selection(ids=(dead_letter_id,)))
    content = await dead_letters.content(settings, dead_letter_id)
    return await describe(letter, content, converter, payloads=payloads)


def _print_table(letters: list[DeadLetter]) -> None:
    rows = [{**summary(letter), "died_at": letter.died_at} for letter in letters]
    print_table(_COLUMNS, rows, ("id", "attempt"))


def _lines(described: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in described.items():
        if name == "failure" and value is not None:
            lines.append("failure")
            for link in (value, *value["causes"]):
                lines += _failure_lines(link)
        elif value is not None:
            text = json.dumps(value) if isinstance(value, dict | list) else str(value)
            lines.append(f"{name.replace('_', ' '):<13} {plain(text)}")
    return lines


def _failure_lines(link: dict[str, Any]) -> list[str]:
    lead = "  caused by" if "causes" not in link else " "
    final = " (non-retryable)" if link["non_retryable"] else ""
    lines = [f"{lead} {plain(link['type'])}: {plain(link['message'])}{final}"]
    lines += [f"    {name.replace('_', ' ')} {plain(str(link[name]))}" for name in _EXTRAS if link.get(name)]
    if link.get("details"):
        lines.append(f"    details {plain(json.dumps(link['details']))}")
    lines += [f"    {plain(line)}" for line in (link["stack_trace"] or "").splitlines()]
    return lines


_EXTRAS = ("timeout", "retry_state", "worker")


def _queue_of(letter: DeadLetter) -> str:
    return letter.queue


def _count(letters: list[DeadLetter] | tuple[DeadLetter, ...]) -> str:
    return _number_of(len(letters))


def _number_of(count: int) -> str:
    return f"{count} dead {'letter' if count == 1 else 'letters'}"
