"""Chains of interceptors, and what of the engine's own traffic the interceptors of users do not see."""

from __future__ import annotations

from typing import Any, TypeVar

import temporalio.client
import temporalio.worker
from temporalio import activity
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    HandleQueryInput,
    HandleSignalInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from delegator.wire.outcomes import SIGNAL_NAME
from delegator.wire.pending import PENDING_QUERY
from delegator.wire.requests import CANCEL_ACTIVITY, ENQUEUE_ACTIVITY, LOOK_ACTIVITY

Interceptor = TypeVar("Interceptor")


def innermost(interceptor: Interceptor, kind: type[Interceptor]) -> tuple[Interceptor | None, Interceptor]:
    """Return the last interceptor of a chain, which is the SDK's own, and the one before it.

    Args:
        interceptor: the first one.
        kind: the base class of all of them.
    """
    before, last = None, interceptor
    while isinstance(following := getattr(last, "next", None), kind):
        before, last = last, following
    return before, last


class OwnTraffic(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Keeps the engine's local activities, signals and queries from the interceptors of users.

    Users' interceptors see each delegated call as an activity. A local activity that carries many calls means nothing
    to them, and lacks the headers that they may insist on. Register this interceptor first: it is then the outermost
    one. A worker takes the interceptors of its client first.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See the base class."""
        return _Activities(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """See the base class."""
        return _Workflows


class _Activities(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if activity.info().activity_type in (ENQUEUE_ACTIVITY, CANCEL_ACTIVITY, LOOK_ACTIVITY):
            return await _own(self).execute_activity(input)
        return await super().execute_activity(input)


def _own(first: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
    """Return what runs an own local activity: a tracer of ours if there is one, else the SDK."""
    last = first
    while isinstance(following := getattr(last, "next", None), ActivityInboundInterceptor):
        last = following
        if getattr(last, "traces_delegator", False):
            break
    return last


class _Workflows(WorkflowInboundInterceptor):
    async def handle_signal(self, input: HandleSignalInput) -> None:
        if input.signal == SIGNAL_NAME:
            _, sdk = innermost(self, WorkflowInboundInterceptor)
            await sdk.handle_signal(input)
        else:
            await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        if input.query == PENDING_QUERY:
            _, sdk = innermost(self, WorkflowInboundInterceptor)
            return await sdk.handle_query(input)
        return await super().handle_query(input)
