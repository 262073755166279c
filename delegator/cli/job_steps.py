"""`delegator jobs cancel` and `delegator jobs retry`."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from delegator.cli.job_selection import (
    ErrorOption,
    JobsArgument,
    SinceOption,
    StateOption,
    UntilOption,
    chosen,
    selection_of,
    states_of,
)
from delegator.cli.options import (
    AllOption,
    DatabaseOption,
    DryRunOption,
    JsonOption,
    QueueOption,
    TypeOption,
    WorkflowOption,
    YesOption,
    check_queue,
)
from delegator.cli.output import confirmed, plain, print_json
from delegator.config import Settings
from delegator.operating import steering
from delegator.operating.jobs import ExplainedJob
from delegator.operating.reports import job_summary
from delegator.operating.states import UNFINISHED, State
from delegator.postgres.job_views import JobRow
from delegator.runtime.modules import add_current_directory
from delegator.runtime.temporal_client import load_data_converter

LimitOption = Annotated[str | None, typer.Option("--limit", metavar="N", help="The first N.")]
_IDS_SHOWN: Final = 10


def cancel_command(
    ids: JobsArgument = None,
    queue: QueueOption = None,
    job_type: TypeOption = None,
    state: StateOption = None,
    error: ErrorOption = None,
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
    """Cancel jobs. Their workflows get an ActivityError with a CancelledError as its cause; the job is no dead letter.

    A job that does not run ends at once. A running one is told to stop, as by a workflow that cancels it: its handler
    gets a CancelledError, and decides. A job of a Temporal activity task is left: cancel its activity in Temporal.
    More than one job is canceled only after a question, or with --yes.
    """
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue)
    given = selection_of(job_type, workflow_id, error, since, until, limit)
    found = chosen(settings, ids, queue, given, states_of(state), everything=everything, default=UNFINISHED)
    if _is_over("cancel", found, dry_run, yes, as_json, ("ended", "asked", "left")):
        return
    add_current_directory()
    converter = load_data_converter(settings.data_converter)
    identity = f"{getpass.getuser()}@{socket.gethostname()}"
    result = asyncio.run(steering.cancel(settings, found, converter, identity=identity))
    if as_json:
        print_json({name: _ids(getattr(result, name)) for name in ("ended", "asked", "left")})
    else:
        typer.echo(f"canceled {_number_of(len(result.ended))}, told {_number_of(len(result.asked))} to stop")
    _tell_left(result.left, "ended meanwhile, or Temporal activity tasks, which are canceled in Temporal")


def retry_command(
    ids: JobsArgument = None,
    queue: QueueOption = None,
    job_type: TypeOption = None,
    error: ErrorOption = None,
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
    """Try jobs again now that back off, or that workers could not begin. Their attempts go on counting.

    A paused job is tried when its pause ends. For a job that was given up, see `delegator dlq replay`.
    """
    settings = Settings.load(database_url=database_url)
    check_queue(settings, queue)
    given = selection_of(job_type, workflow_id, error, since, until, limit)
    states = (State.BACKING_OFF, State.WAITING)
    found = chosen(settings, ids, queue, given, [], everything=everything, default=states)
    due = [one for one in found if one.explanation.reason in steering.RETRIED or ids]
    if _is_over("retry", due, dry_run, yes, as_json, ("retried", "left")):
        return
    retried, left = asyncio.run(steering.retry(settings, due))
    if as_json:
        print_json({"retried": _ids(retried), "left": _ids(left)})
    else:
        typer.echo(f"{_number_of(len(retried))} due now")
    _tell_left(left, "they do not back off: see `delegator explain`")


def _is_over(
    action: str, found: Sequence[ExplainedJob], dry_run: bool, yes: bool, as_json: bool, keys: Sequence[str]
) -> bool:
    """Return whether nothing is to be changed, after having said so."""
    if found and not dry_run and (len(found) == 1 or confirmed(action, _question(action, found), yes)):
        return False
    if dry_run:
        if as_json:
            print_json({f"would_{action}": [job_summary(one) for one in found]})
            return True
        typer.echo(f"would {action} {_number_of(len(found))}{_by_type(found)}")
        return True
    if as_json:
        print_json({key: [] for key in keys})
    typer.echo("nothing was changed" if found else "no such jobs: nothing to do", err=True)
    if found:
        raise typer.Exit(1)
    return True


def _question(action: str, found: Sequence[ExplainedJob]) -> str:
    return f"{action} {_number_of(len(found))}{_by_type(found)}?"


def _by_type(found: Sequence[ExplainedJob]) -> str:
    counts = Counter((one.job.job_type, one.explanation.state.value) for one in found)
    parts = [f"{count} {job_type} {state}" for (job_type, state), count in sorted(counts.items())]
    return plain(f" ({', '.join(parts)})") if parts else ""


def _tell_left(left: Sequence[JobRow], why: str) -> None:
    if left:
        more = f" and {len(left) - _IDS_SHOWN} more" if len(left) > _IDS_SHOWN else ""
        ids = ", ".join(job.job_id for job in left[:_IDS_SHOWN])
        typer.echo(plain(f"left {_number_of(len(left))} ({ids}{more}): {why}"), err=True)
        raise typer.Exit(1)


def _ids(jobs: Sequence[JobRow]) -> list[str]:
    return [job.job_id for job in jobs]


def _number_of(count: int) -> str:
    return f"{count} {'job' if count == 1 else 'jobs'}"
