"""What an application asks of workflows, before it is encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypedDict

from delegator_schema.outbox import request_id
from google.protobuf.json_format import MessageToDict
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.common import (
    Priority,
    RetryPolicy,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.converter import encode_search_attributes

from delegator.errors import ConfigurationError

_WORKFLOW_ATTRIBUTE: Final = "__temporal_workflow_definition"
_SIGNAL_ATTRIBUTE: Final = "__temporal_signal_definition"
_LONGEST_NAME: Final = 1000
_LONGEST_KEY: Final = 500


class StartOptions(TypedDict, total=False):
    """The keywords of `Outbox.start_workflow` that are those of `Client.start_workflow`."""

    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | None
    static_summary: str | None
    static_details: str | None
    start_delay: timedelta | None
    priority: Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One operation on a workflow."""

    operation: str
    """`start`, `signal`, `signal_with_start` or `cancel`."""
    workflow_id: str
    """The workflow."""
    workflow_type: str | None = None
    task_queue: str | None = None
    name: str | None = None
    """The signal's name."""
    args: tuple[Any, ...] = ()
    """The workflow's arguments, or those of a signal that starts nothing."""
    signal_args: tuple[Any, ...] = ()
    """With `signal_with_start`: the signal's arguments."""
    memo: Mapping[str, Any] | None = None
    summary: str | None = None
    details: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """The other fields of Temporal's request, in its JSON form."""
    key: str | None = None
    """The caller's idempotency key."""

    def __post_init__(self) -> None:
        """Check the texts.

        Raises:
            ValueError: one is missing, too long, or can't be stored.
        """
        for what, text in (
            ("workflow id", self.workflow_id),
            ("workflow type", self.workflow_type),
            ("task queue", self.task_queue),
            ("signal's name", self.name),
        ):
            if text is not None:
                _check(what, text, _LONGEST_NAME)
        if self.key is not None:
            _check("key", self.key, _LONGEST_KEY)

    def request_id(self, namespace: str | None) -> str | None:
        """Return the request id that the key gives; None: there is no key."""
        return None if self.key is None else request_id(self.operation, namespace, self.workflow_id, self.key)


def _check(what: str, text: object, most_bytes: int) -> None:
    if not isinstance(text, str) or not text or "\0" in text or len(text.encode()) > most_bytes:
        raise ValueError(f"a {what} is a text of 1 to {most_bytes} bytes, without zero bytes")


def workflow_name(workflow: str | Callable[..., Any]) -> str:
    """Return the type of a workflow.

    Args:
        workflow: its name, or its `@workflow.run` method.

    Raises:
        ConfigurationError: it is neither.
    """
    return _name(workflow, _WORKFLOW_ATTRIBUTE, "a workflow's @workflow.run method, or its name")


def signal_name(signal: str | Callable[..., Any]) -> str:
    """Return the name of a signal.

    Args:
        signal: its name, or its `@workflow.signal` method.

    Raises:
        ConfigurationError: it is neither.
    """
    return _name(signal, _SIGNAL_ATTRIBUTE, "a workflow's @workflow.signal method, or its name")


def _name(given: str | Callable[..., Any], attribute: str, kind: str) -> str:
    if isinstance(given, str):
        return given
    name = getattr(getattr(given, attribute, None), "name", None)
    if not isinstance(name, str):
        raise ConfigurationError(f"{getattr(given, '__qualname__', type(given).__name__)} is not {kind}")
    return name


def start_options(
    *,
    execution_timeout: timedelta | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    id_conflict_policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED,
    retry_policy: RetryPolicy | None = None,
    cron_schedule: str = "",
    search_attributes: TypedSearchAttributes | None = None,
    start_delay: timedelta | None = None,
    priority: Priority = Priority.default,
) -> dict[str, Any]:
    """Return the fields of Temporal's request, in its JSON form; the arguments are those of `Client.start_workflow`.

    Raises:
        ConfigurationError: a value has the wrong type.
    """
    request = StartWorkflowExecutionRequest()
    try:
        for message, duration in (
            (request.workflow_execution_timeout, execution_timeout),
            (request.workflow_run_timeout, run_timeout),
            (request.workflow_task_timeout, task_timeout),
            (request.workflow_start_delay, start_delay),
        ):
            if duration is not None:
                message.FromTimedelta(duration)
        request.workflow_id_reuse_policy = WorkflowIdReusePolicy.ValueType(int(id_reuse_policy))
        request.workflow_id_conflict_policy = WorkflowIdConflictPolicy.ValueType(int(id_conflict_policy))
        if retry_policy is not None:
            retry_policy.apply_to_proto(request.retry_policy)
        if search_attributes is not None:
            encode_search_attributes(search_attributes, request.search_attributes)
        if priority != Priority.default:
            request.priority.priority_key = priority.priority_key or 0
            request.priority.fairness_key = priority.fairness_key or ""
            request.priority.fairness_weight = priority.fairness_weight or 0.0
        request.cron_schedule = cron_schedule
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"an option of the workflow has a wrong value: {error}") from None
    return MessageToDict(request)
