"""What the synchronous and the asynchronous outbox have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from delegator_schema.outbox import CANCEL, SIGNAL, SIGNAL_WITH_START, START
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.converter import DataConverter

from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.outbox.encoder import Encoder, Headers
from delegator.outbox.workflows import Asked, signal_name, start_options, workflow_name
from delegator.runtime.temporal_client import load_data_converter


def encoder_for(
    settings: Settings | None,
    data_converter: DataConverter | None,
    namespace: str | None,
    *,
    schema: str | None,
    notify: bool | None,
    headers: Headers | None = None,
) -> Encoder:
    """Return the encoder of an outbox; the arguments are those of `Outbox`."""
    settings = settings or Settings.load()
    converter = data_converter or load_data_converter(settings.data_converter)
    notify = settings.outbox_notify if notify is None else notify
    schema = schema or settings.schema_name or "public"
    return Encoder(converter, settings, namespace=namespace, schema=schema, notify=notify, headers=headers)


def start(
    workflow: str | Callable[..., Any],
    args: tuple[Any, ...],
    *,
    id: str,
    task_queue: str,
    key: str | None,
    memo: Mapping[str, Any] | None = None,
    static_summary: str | None = None,
    static_details: str | None = None,
    **options: Any,
) -> Asked:
    """Return the operation that starts a workflow; the arguments are those of `Outbox.start_workflow`."""
    return Asked(
        operation=START,
        workflow_id=id,
        workflow_type=workflow_name(workflow),
        task_queue=task_queue,
        args=args,
        memo=memo,
        summary=static_summary,
        details=static_details,
        options=start_options(**options),
        key=key,
    )


def signal_with_start(
    workflow: str | Callable[..., Any],
    args: tuple[Any, ...],
    *,
    id: str,
    task_queue: str,
    signal: str | Callable[..., Any],
    signal_args: Sequence[Any],
    key: str | None,
    memo: Mapping[str, Any] | None = None,
    static_summary: str | None = None,
    static_details: str | None = None,
    **options: Any,
) -> Asked:
    """Return the operation that signals a workflow and starts it if no run of it is open.

    Raises:
        ConfigurationError: the conflict policy would not signal an open run.
    """
    policy = options.get("id_conflict_policy", WorkflowIDConflictPolicy.UNSPECIFIED)
    if policy not in (WorkflowIDConflictPolicy.UNSPECIFIED, WorkflowIDConflictPolicy.USE_EXISTING):
        raise ConfigurationError("id_conflict_policy: a signal with start always uses the run that is open")
    return Asked(
        operation=SIGNAL_WITH_START,
        workflow_id=id,
        workflow_type=workflow_name(workflow),
        task_queue=task_queue,
        name=signal_name(signal),
        args=args,
        signal_args=tuple(signal_args),
        memo=memo,
        summary=static_summary,
        details=static_details,
        options=start_options(**options),
        key=key,
    )


def signal(
    id: str, given: str | Callable[..., Any], args: tuple[Any, ...], *, run_id: str | None, key: str | None
) -> Asked:
    """Return the operation that signals a workflow; the arguments are those of `Outbox.signal_workflow`."""
    return Asked(operation=SIGNAL, workflow_id=id, name=signal_name(given), args=args, options=_of_run(run_id), key=key)


def cancel(id: str, *, reason: str | None, run_id: str | None, key: str | None) -> Asked:
    """Return the operation that cancels a workflow; the arguments are those of `Outbox.cancel_workflow`."""
    options = _of_run(run_id) | ({} if reason is None else {"reason": reason})
    return Asked(operation=CANCEL, workflow_id=id, options=options, key=key)


def _of_run(run_id: str | None) -> dict[str, Any]:
    return {} if run_id is None else {"workflowExecution": {"runId": run_id}}


def new_jobs(ids: Sequence[str], written: Sequence[Sequence[str]]) -> list[bool]:
    """Return for each job whether it is new.

    Args:
        ids: the jobs, in order. An id that stands there twice is new once.
        written: the ids that each statement returned.
    """
    new = {job_id for ids_of_queue in written for job_id in ids_of_queue}
    found = []
    for job_id in ids:
        found.append(job_id in new)
        new.discard(job_id)
    return found
