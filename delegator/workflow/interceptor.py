"""The drop-in: unchanged `workflow.execute_activity` calls of registered types become delegated jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import FrameType
from typing import Any, cast

from temporalio import workflow
from temporalio.converter import DataConverter
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityCancellationType

from delegator.contracts import DelegatedType, JobOptions, retry_key
from delegator.wire.contexts import uses_contexts
from delegator.wire.requests import JobRequest
from delegator.wire.values import is_default
from delegator.workflow.calls import Call, CallSpec, canceled_error
from delegator.workflow.delegations import Delegations

PATCH_ID = "delegator.intercept"
"""The patch marker of runs whose activities are delegated. Runs without it replay their ordinary activities."""


class DelegationInterceptor(Interceptor):
    """Makes every workflow of a worker able to delegate. It also delegates the activities of the given types."""

    def __init__(
        self,
        intercepted: Mapping[str, DelegatedType],
        converter: DataConverter,
        *,
        patch: bool,
        first_task_waited: Callable[[float], None],
    ) -> None:
        """Prepare the interceptor.

        Args:
            intercepted: the types whose `execute_activity` calls are delegated, by name.
            converter: the client's data converter.
            patch: ask `workflow.patched` once per workflow run, so that runs in flight keep their ordinary activities.
            first_task_waited: called with the seconds that a workflow's first task waited; from a workflow's thread.
        """
        self._intercepted = intercepted
        self._converter = converter
        self._patch = patch
        self._first_task_waited = first_task_waited

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Return the interceptor class for a workflow; see the base class."""
        intercepted, patch, first_task_waited = self._intercepted, self._patch, self._first_task_waited
        failure_converter, default = self._converter.failure_converter_class, is_default(self._converter)
        with_contexts = uses_contexts(self._converter)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                info = outbound.info()
                delegations = Delegations.install(
                    info.run_id, failure_converter(), is_default=default, info=info if with_contexts else None
                )
                if intercepted:
                    outbound = _Outbound(outbound, delegations, intercepted, patch=patch)
                super().init(outbound)

            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                # Not in `init`: `is_replaying` is not known there yet.
                info = workflow.info()
                if _began_at_once(info) and not workflow.unsafe.is_replaying():
                    first_task_waited((info.start_time - info.workflow_start_time).total_seconds())
                return await super().execute_workflow(input)

        return Inbound


def _began_at_once(info: workflow.Info) -> bool:
    """Return whether the first task was due when the run began.

    The first task of a cron run or of a retry is due after a delay. A retry continues the run that failed.
    """
    return info.cron_schedule is None and info.continued_run_id is None


class _Outbound(WorkflowOutboundInterceptor):
    def __init__(
        self,
        next: WorkflowOutboundInterceptor,
        delegations: Delegations,
        intercepted: Mapping[str, DelegatedType],
        *,
        patch: bool,
    ) -> None:
        super().__init__(next)
        self._delegations = delegations
        self._intercepted = intercepted
        self._patched = None if patch else True
        self._specs: dict[tuple[Any, ...], CallSpec] = {}

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        declared = self._intercepted.get(input.activity)
        if declared is None or not self._delegates():
            return super().start_activity(input)
        if not input.start_to_close_timeout and not input.schedule_to_close_timeout:
            raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")
        spec = self._spec(input, declared)
        converter = self._delegations.converter
        request = JobRequest(spec.job, converter.input(input.args, spec), converter.header(input.headers), None)
        handle = _DelegatedHandle(self._delegations, spec, request)
        return cast("workflow.ActivityHandle[Any]", handle)

    def _delegates(self) -> bool:
        if self._patched is None:
            self._patched = workflow.patched(PATCH_ID)
        return self._patched

    def _spec(self, input: StartActivityInput, declared: DelegatedType) -> CallSpec:
        """Return what calls with these options have in common, from a cache: a `gather` repeats them."""
        key = (
            input.activity,
            input.start_to_close_timeout,
            input.schedule_to_close_timeout,
            input.schedule_to_start_timeout,
            input.heartbeat_timeout,
            retry_key(input.retry_policy),
            input.cancellation_type,
            input.ret_type,
        )
        spec = self._specs.get(key)
        if spec is None:
            options = JobOptions(
                start_to_close_timeout=_positive(input.start_to_close_timeout),
                schedule_to_close_timeout=_positive(input.schedule_to_close_timeout),
                schedule_to_start_timeout=_positive(input.schedule_to_start_timeout),
                heartbeat_timeout=_positive(input.heartbeat_timeout),
                retry_policy=input.retry_policy,
            )
            if input.ret_type is not None:
                declared = replace(declared, return_type=input.ret_type)
            spec = self._specs[key] = self._delegations.spec(declared, options, input.cancellation_type)
        return spec


class _DelegatedHandle(asyncio.Future[Any]):
    """An activity handle whose activity is a delegated job.

    Temporal's own handles are tasks. This one is a future that the outcome resolves, with a task's other methods. A
    task would need a coroutine, and its turns of the event loop would double the time of a `gather` of thousands.
    """

    __slots__ = ("_call", "_cancels", "_delegations")

    def __init__(self, delegations: Delegations, spec: CallSpec, request: JobRequest) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._delegations = delegations
        self._call = Call(spec, request, self)
        self._cancels = 0
        delegations.submit(self._call)

    def add(self, call: Call) -> None:
        """See `Caller`."""

    def resolved(self, call: Call) -> None:
        """See `Caller`."""
        if not self.done():
            try:
                self.set_result(self._delegations.converter.result(call))
            except Exception as error:
                self.set_exception(error)

    def fail(self, failure: BaseException) -> None:
        """See `Caller`."""
        if not self.done():
            self.set_exception(failure)

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the job as the call's cancellation type says. The outcome says whether the job was canceled."""
        if self.done():
            return False
        self._cancels += 1
        call = self._call
        if call.sent is None:
            call.withdraw()
        elif call.spec.cancellation_type is ActivityCancellationType.ABANDON:
            self.fail(canceled_error(call))
        else:
            self._delegations.ask_to_cancel(call, self.get_loop()).add_done_callback(self._asked)
        return True

    def _asked(self, asked: asyncio.Future[None]) -> None:
        if asked.cancelled():  # the workflow is evicted
            super().cancel()
        elif self._call.spec.cancellation_type is ActivityCancellationType.TRY_CANCEL:
            self.fail(canceled_error(self._call))

    def cancelling(self) -> int:
        """See `asyncio.Task`."""
        return self._cancels

    def uncancel(self) -> int:
        """See `asyncio.Task`. A cancellation that was requested stays requested."""
        return self._cancels

    def get_name(self) -> str:
        """See `asyncio.Task`."""
        return f"activity: {self._call.spec.job.type}"

    def get_coro(self) -> None:
        """See `asyncio.Task`."""

    def get_stack(self, *, limit: int | None = None) -> list[FrameType]:
        """See `asyncio.Task`."""
        return []


def _positive(timeout: timedelta | None) -> timedelta | None:
    return timeout or None
