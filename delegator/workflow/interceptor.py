"""The drop-in: unchanged `workflow.execute_activity` calls of registered types become delegated jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.converter import FailureConverter
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from delegator.contracts import DelegatedType, JobOptions
from delegator.wire.requests import JobRequest
from delegator.workflow.calls import Call, CallGroup, CallSpec
from delegator.workflow.delegations import Delegations

PATCH_ID = "delegator.intercept"
"""The patch marker of runs whose activities are delegated; runs begun before it replay their old activities."""


class DelegationInterceptor(Interceptor):
    """Makes every workflow of a worker able to delegate and, if asked to, delegates its activities."""

    def __init__(
        self,
        intercepted: Mapping[str, DelegatedType],
        failure_converter: type[FailureConverter],
        *,
        patch: bool,
    ) -> None:
        """Prepare the interceptor.

        Args:
            intercepted: the types whose `execute_activity` calls are delegated, by name.
            failure_converter: the client's failure converter class.
            patch: ask `workflow.patched` once per workflow, so that runs in flight stay as they began.
        """
        self._intercepted = intercepted
        self._failure_converter = failure_converter
        self._patch = patch

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Return the interceptor class for a workflow; see the base class."""
        intercepted, failure_converter, patch = self._intercepted, self._failure_converter, self._patch

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                delegations = Delegations.install(outbound.info().run_id, failure_converter())
                if intercepted:
                    outbound = _Outbound(outbound, delegations, intercepted, patch=patch)
                super().init(outbound)

        return Inbound


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
        self._patch = patch
        self._handles: set[asyncio.Task[Any]] = set()
        self._specs: dict[tuple[Any, ...], CallSpec] = {}

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        declared = self._intercepted.get(input.activity)
        if declared is None or (self._patch and not workflow.patched(PATCH_ID)):
            return super().start_activity(input)
        if not input.start_to_close_timeout and not input.schedule_to_close_timeout:
            raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")
        handle = _DelegatedHandle(self._delegations, self._call(input, declared))
        self._handles.add(handle)
        handle.add_done_callback(self._handles.discard)
        return handle

    def _call(self, input: StartActivityInput, declared: DelegatedType) -> Call:
        spec = self._spec(input, declared)
        converter = self._delegations.converter
        request = JobRequest(spec.kind, converter.input(input.args), converter.header(input.headers), None)
        call = Call(spec, request, CallGroup(stop_early=True))
        self._delegations.submit(call)
        return call

    def _spec(self, input: StartActivityInput, declared: DelegatedType) -> CallSpec:
        """Return what calls with these options share; a `gather` makes thousands of calls with the same ones."""
        key = (
            input.activity,
            input.start_to_close_timeout,
            input.schedule_to_close_timeout,
            input.schedule_to_start_timeout,
            input.heartbeat_timeout,
            _retry_key(input.retry_policy),
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


class _DelegatedHandle(workflow.ActivityHandle[Any]):
    """An activity handle whose activity is a delegated job."""

    def __init__(self, delegations: Delegations, call: Call) -> None:
        super().__init__(self._outcome(), loop=asyncio.get_running_loop())
        self._delegations = delegations
        self._call = call
        self._waits = False

    def cancel(self, msg: Any | None = None) -> bool:
        if not self._waits and not self.done():
            # Cancelled before its first step, the coroutine will never see it.
            self._delegations.give_up(self._call)
        return super().cancel(msg)

    async def _outcome(self) -> Any:
        self._waits = True
        await self._delegations.wait(self._call.group, self._call.spec.cancellation_type)
        return self._delegations.converter.result(self._call)


def _positive(timeout: timedelta | None) -> timedelta | None:
    return timeout or None


def _retry_key(policy: RetryPolicy | None) -> tuple[Any, ...] | None:
    if policy is None:
        return None
    return (
        policy.initial_interval,
        policy.backoff_coefficient,
        policy.maximum_interval,
        policy.maximum_attempts,
        tuple(policy.non_retryable_error_types or ()),
    )
