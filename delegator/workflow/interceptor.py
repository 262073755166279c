"""The interceptor that makes every workflow of a worker able to delegate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from temporalio import workflow
from temporalio.converter import DataConverter
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from delegator.contracts import DelegatedType
from delegator.wire.contexts import uses_contexts
from delegator.wire.values import is_default
from delegator.workflow.chains import innermost
from delegator.workflow.delegations import Delegations
from delegator.workflow.drop_in import intercepting


class DelegationInterceptor(Interceptor):
    """Makes every workflow of a worker able to delegate. It also delegates the activities of the given types."""

    def __init__(
        self,
        intercepted: Mapping[str, DelegatedType],
        converter: DataConverter,
        *,
        task_queues: Mapping[str, str | None],
        patch: bool,
        first_task_waited: Callable[[float], None],
        replay_differs: Callable[[str, Exception], None] = lambda run_id, error: None,
    ) -> None:
        """Prepare the interceptor.

        Args:
            intercepted: the types whose `execute_activity` calls are delegated, by name.
            converter: the client's data converter.
            task_queues: see `PluginOptions`.
            patch: ask `workflow.patched` once per workflow run, so that runs in flight keep their ordinary activities.
            first_task_waited: called with the seconds that a workflow's first task waited; from a workflow's thread.
            replay_differs: called with a run id and an error if workflow code asks for other jobs than its history;
                from a workflow's thread.
        """
        self._intercepted = intercepted
        self._converter = converter
        self._task_queues = task_queues
        self._patch = patch
        self._first_task_waited = first_task_waited
        self._replay_differs = replay_differs

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Return the interceptor class for a workflow; see the base class."""
        intercepted, task_queues, patch = self._intercepted, self._task_queues, self._patch
        first_task_waited, replay_differs = self._first_task_waited, self._replay_differs
        failure_converter, default = self._converter.failure_converter_class, is_default(self._converter)
        with_contexts = uses_contexts(self._converter)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                sdk = innermost(outbound, WorkflowOutboundInterceptor)[1]
                # Of the SDK itself, so that users' interceptors see only what workflow code asks.
                self._info = sdk.info()
                delegations = Delegations.install(
                    self._info,
                    sdk,
                    failure_converter(),
                    is_default=default,
                    with_contexts=with_contexts,
                    replay_differs=replay_differs,
                )
                if intercepted:
                    outbound = intercepting(outbound, delegations, intercepted, task_queues, patch=patch)
                super().init(outbound)

            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                # Not in `init`: `is_replaying` is not known there yet.
                info = self._info
                if _began_at_once(info) and not workflow.unsafe.is_replaying():
                    first_task_waited((info.start_time - info.workflow_start_time).total_seconds())
                return await super().execute_workflow(input)

        return Inbound


def _began_at_once(info: workflow.Info) -> bool:
    """Return whether the first task was due when the run began.

    The first task of a cron run or of a retry is due after a delay. A retry continues the run that failed.
    """
    return info.cron_schedule is None and info.continued_run_id is None
