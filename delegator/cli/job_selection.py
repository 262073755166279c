"""How commands are told which jobs they are for."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from delegator.cli.options import bounds
from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.operating import jobs
from delegator.operating.jobs import ExplainedJob
from delegator.operating.states import State
from delegator.postgres.job_views import JobSelection

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, as listed.")]
JobsArgument = Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Jobs' ids, as listed.")]
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help=f"One of {', '.join(State)}; may be given more than once."),
]
ErrorOption = Annotated[
    str | None, typer.Option("--error", metavar="TYPE", help="The last attempt failed with an error of this type.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="Enqueued since: an ISO 8601 time, or 90s, 1h30m, PT1H ago."),
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Enqueued before: as --since.")]


def states_of(given: list[str] | None) -> list[State]:
    """Read `--state`.

    Raises:
        ConfigurationError: one is no state, or dead letters are asked for beside jobs.
    """
    for name in given or ():
        if name not in list(State):
            raise ConfigurationError(f"--state {name}: none of {', '.join(State)}")
    states = [State(name) for name in given or ()]
    if State.DEAD in states and len(states) > 1:
        raise ConfigurationError("--state dead: dead letters are listed by themselves, without other states")
    return states


def selection_of(
    job_type: str | None,
    workflow_id: str | None,
    error: str | None,
    since: str | None,
    until: str | None,
    limit: str | None,
) -> dict[str, Any]:
    """Return what was given, as `JobSelection` takes it.

    Raises:
        ConfigurationError: a value can't be read.
    """
    given = {
        "job_type": job_type,
        "workflow_id": workflow_id,
        "error": error,
        **bounds(since, until, limit),
    }
    return {name: value for name, value in given.items() if value is not None}


def chosen(
    settings: Settings,
    ids: list[str] | None,
    queue: str | None,
    given: dict[str, Any],
    states: list[State],
    *,
    everything: bool,
    default: tuple[State, ...],
) -> list[ExplainedJob]:
    """Return the jobs that a command is to change.

    Args:
        settings: where the database is.
        ids: ids that were given.
        queue: `--queue`.
        given: the other filters.
        states: `--state`.
        everything: `--all`.
        default: the states of the jobs that the command can change.

    Raises:
        ConfigurationError: it was not said which, or an id is not that of a job.
        DatabaseError: PostgreSQL can't be reached or refuses.
    """
    is_filtered = bool(given or queue or states)
    if bool(ids) + is_filtered + everything != 1:
        raise ConfigurationError("say which: ids, or filters (--queue, --type, --workflow-id, --error, ...), or --all")
    queues = settings.queues if queue is None else (queue,)
    selection = JobSelection(job_ids=ids or None, states=states or (None if ids else default), **given)
    found = asyncio.run(jobs.find(settings, queues, selection))
    missing = sorted(set(ids or ()) - {one.job.job_id for one in found})
    if missing:
        raise ConfigurationError(
            f"no job {', '.join(missing)} in queues {', '.join(queues)}, so nothing was changed:"
            " see `delegator jobs list`"
        )
    return found
