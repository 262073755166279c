"""The drop-in: unchanged `workflow.execute_activity` calls of registered types become delegated jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from delegator_schema.options import ACTIVITY_ID, TASK_QUEUE
from temporalio import workflow
from temporalio.common import Priority
from temporalio.worker import StartActivityInput, WorkflowOutboundInterceptor
from temporalio.workflow import VersioningIntent

from delegator.contracts import DelegatedType, JobOptions, retry_key
from delegator.errors import ConfigurationError
from delegator.wire.requests import JobRequest
from delegator.workflow.calls import CallSpec
from delegator.workflow.chains import innermost
from delegator.workflow.delegations import Delegations
from delegator.workflow.handles import DelegatedHandle

PATCH_ID = "delegator.intercept"
"""The patch marker of runs whose activities are delegated. Runs without it replay their ordinary activities."""


def intercepting(
    outbound: WorkflowOutboundInterceptor,
    delegations: Delegations,
    intercepted: Mapping[str, DelegatedType],
    task_queues: Mapping[str, str | None],
    *,
    patch: bool,
) -> WorkflowOutboundInterceptor:
    """Make a chain of outbound interceptors delegate activities.

    The delegation takes the SDK's place at the end of the chain. So every other interceptor sees the call first,
    whichever of them was registered first, and may change its arguments and its headers.

    Args:
        outbound: the chain.
        delegations: of the workflow run.
        intercepted: the types to delegate, by name.
        task_queues: see `PluginOptions`.
        patch: ask `workflow.patched` once.

    Returns:
        The chain to use.
    """
    before, last = innermost(outbound, WorkflowOutboundInterceptor)
    delegating = _Outbound(last, delegations, intercepted, task_queues, patch=patch)
    if before is None:
        return delegating
    before.next = delegating
    return outbound


class _Outbound(WorkflowOutboundInterceptor):
    def __init__(
        self,
        next: WorkflowOutboundInterceptor,
        delegations: Delegations,
        intercepted: Mapping[str, DelegatedType],
        task_queues: Mapping[str, str | None],
        *,
        patch: bool,
    ) -> None:
        super().__init__(next)
        self._delegations = delegations
        self._intercepted = intercepted
        self._task_queues = task_queues
        self._patched = None if patch else True
        self._specs: dict[tuple[Any, ...], CallSpec | None] = {}
        self._activity_ids: set[str] = set()

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        declared = self._intercepted.get(input.activity)
        if declared is None or not self._delegates():
            return super().start_activity(input)
        spec = self._spec(input, declared)
        if spec is None:
            return super().start_activity(input)
        event_groups = getattr(input, "event_groups", None)  # not in every SDK
        if input.activity_id or input.summary or event_groups:
            spec = self._labelled(spec, input.activity_id or None, input.summary, tuple(event_groups or ()))
        converter = self._delegations.converter
        request = JobRequest(spec.job, converter.input(input.args, spec), converter.header(input.headers), None)
        handle = DelegatedHandle(self._delegations, spec, request)
        if spec.activity_id is not None:
            activity_id = spec.activity_id
            handle.add_done_callback(lambda _: self._activity_ids.discard(activity_id))
        return handle

    def _delegates(self) -> bool:
        if self._patched is None:
            self._patched = workflow.patched(PATCH_ID)
        return self._patched

    def _labelled(
        self, spec: CallSpec, activity_id: str | None, summary: str | None, event_groups: tuple[Any, ...]
    ) -> CallSpec:
        """Return the spec of one call. It is not kept: a workflow may make many calls, each with its own id."""
        job = spec.job
        if activity_id is not None:
            if activity_id in self._activity_ids:
                raise ValueError(f"activity id {activity_id!r} is that of an activity that has not ended")
            self._activity_ids.add(activity_id)
            job = replace(job, options={**(job.options or {}), ACTIVITY_ID: activity_id})
        return replace(spec, job=job, activity_id=activity_id, summary=summary, event_groups=event_groups)

    def _queue(self, input: StartActivityInput, declared: DelegatedType) -> str | None:
        """Return the queue of a call; None: it stays an ordinary activity.

        Raises:
            ConfigurationError: its task queue is not declared.
        """
        name = input.task_queue
        if not name or name == self._delegations.info.task_queue:
            return declared.queue
        if name not in self._task_queues:
            raise ConfigurationError(
                f"{declared.name}: no queue is declared for the task queue {name!r}: add it to DELEGATOR_TASK_QUEUES, "
                f"or give PluginOptions(task_queues={{{name!r}: ...}}) with a queue, or None for an ordinary activity"
            )
        return self._task_queues[name]

    def _spec(self, input: StartActivityInput, declared: DelegatedType) -> CallSpec | None:
        """Return what calls with these options have in common, from a cache: a `gather` repeats them.

        Returns:
            None for a call that stays an ordinary activity.

        Raises:
            ConfigurationError: an option can't be honoured.
            ValueError: the call lacks a timeout.
        """
        key = (
            input.activity,
            input.task_queue,
            # The default one is the usual one, and its hash takes longer than the rest.
            None if input.priority is Priority.default else input.priority,
            input.versioning_intent,
            input.start_to_close_timeout,
            input.schedule_to_close_timeout,
            input.schedule_to_start_timeout,
            input.heartbeat_timeout,
            retry_key(input.retry_policy),
            input.cancellation_type,
            input.ret_type,
        )
        try:
            return self._specs[key]
        except KeyError:
            spec = self._specs[key] = self._new_spec(input, declared)
            return spec

    def _new_spec(self, input: StartActivityInput, declared: DelegatedType) -> CallSpec | None:
        if not input.start_to_close_timeout and not input.schedule_to_close_timeout:
            raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")
        queue = self._queue(input, declared)
        if queue is None:
            return None
        if input.versioning_intent is VersioningIntent.COMPATIBLE:
            raise ConfigurationError(
                f"{declared.name}: versioning_intent=COMPATIBLE is for workers with build ids, which run no delegated "
                "jobs: leave it out, or give pools of different versions different queues"
            )
        options = JobOptions(
            start_to_close_timeout=_positive(input.start_to_close_timeout),
            schedule_to_close_timeout=_positive(input.schedule_to_close_timeout),
            schedule_to_start_timeout=_positive(input.schedule_to_start_timeout),
            heartbeat_timeout=_positive(input.heartbeat_timeout),
            retry_policy=input.retry_policy,
            priority=input.priority,
        )
        # Without a type, as in a call by name, Temporal does not use the one that the activity declares.
        declared = replace(declared, queue=queue, return_type=input.ret_type)
        spec = self._delegations.spec(declared, options, input.cancellation_type)
        if input.task_queue and input.task_queue != self._delegations.info.task_queue:
            job = replace(spec.job, options={**(spec.job.options or {}), TASK_QUEUE: input.task_queue})
            spec = replace(spec, job=job)
        return spec


def _positive(timeout: timedelta | None) -> timedelta | None:
    return timeout or None
