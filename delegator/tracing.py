"""OpenTelemetry: one trace from the client through workflow, enqueueing, stream and handler.

It needs the extra `opentelemetry`. The SDK's own interceptor traces clients, workflow code and ordinary activities.
This one adds what the SDK does not know: calls of `delegate` and `delegate_map`, the enqueueing of many calls at once,
the time in the queue, and what goes through the outbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import opentelemetry.trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from temporalio import activity
from temporalio.api.common.v1 import Header, Payload
from temporalio.contrib.opentelemetry import TracingInterceptor as TemporalTracing
from temporalio.contrib.opentelemetry import TracingWorkflowInboundInterceptor
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from delegator.enqueue.payloads import frame_in
from delegator.errors import ConfigurationError
from delegator.wire.requests import ENQUEUE_ACTIVITY, unpack_enqueue
from delegator.workflow.chains import innermost
from delegator.workflow.delegations import Delegations

__all__ = ["TracingInterceptor"]

_MOST_LINKS: Final = 100


class TracingInterceptor(TemporalTracing):
    """Traces delegated calls. Use it in place of the SDK's `TracingInterceptor`, of which it is one.

    Give it to the client (`Client.connect(..., interceptors=[TracingInterceptor()])`), which gives it to workers, and
    to the pool: `HttpWorker(interceptors=[TracingInterceptor()])` or `http-worker --interceptor module:name`. An outbox
    gets its `outgoing`. The tracer decides what is sampled.
    """

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[TracingWorkflowInboundInterceptor]:
        """See the base class."""
        super().workflow_interceptor_class(input)
        return _TracedWorkflow

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See the base class."""
        return _TracedActivity(super().intercept_activity(_AttemptNamed(next)), self)

    def outgoing(self, name: str) -> Mapping[str, Payload]:
        """Trace what is written into an outbox, and return the headers that go with it: `Outbox(headers=...)`.

        Args:
            name: what is written, such as `StartWorkflow:Order`.
        """
        with self.tracer.start_as_current_span(f"Outbox:{name}", kind=SpanKind.PRODUCER):
            return self._context_to_headers({})

    def context_of(self, header: bytes) -> Context | None:
        """Return the trace context in a call's header; None: it has none.

        Args:
            header: a serialized `Header`.
        """
        return self._context_from_headers(dict(Header.FromString(header).fields)) if header else None


class _TracedWorkflow(TracingWorkflowInboundInterceptor):
    """Gives `delegate` and `delegate_map` a span, as the SDK gives one to `execute_activity`."""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(outbound)
        with suppress(ConfigurationError):  # this worker can't delegate
            Delegations.current().headers = self._headers_of_calls

    def _headers_of_calls(self, job_type: str, jobs: int) -> Mapping[str, Payload]:
        carrier = _Headers()
        # The SDK has no public way to make a span that goes with a header.
        self._completed_span(
            f"StartActivity:{job_type}",
            add_to_outbound=carrier,
            additional_attributes={"delegator.jobs": jobs},
            kind=SpanKind.CLIENT,
        )
        return carrier.headers


@dataclass(slots=True)
class _Headers:
    headers: Mapping[str, Payload] = field(default_factory=dict)


class _TracedActivity(ActivityInboundInterceptor):
    """Traces the enqueueing of calls, and the time that an attempt waited for its worker."""

    traces_delegator = True
    """It sees the engine's own local activities; see `OwnTraffic`."""

    def __init__(self, next: ActivityInboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        if info.is_local:
            if info.activity_type != ENQUEUE_ACTIVITY:
                return await super().execute_activity(input)
            _, sdk = innermost(self, ActivityInboundInterceptor)
            with self._enqueueing(input.args):
                return await sdk.execute_activity(input)
        context = self._root._context_from_headers(input.headers)
        if context is not None:
            span = self._root.tracer.start_span(
                f"Queue:{info.activity_type}",
                context=context,
                kind=SpanKind.CONSUMER,
                start_time=_nanoseconds(info.current_attempt_scheduled_time),
                attributes={"temporalActivityID": info.activity_id, "temporalAttempt": info.attempt},
            )
            span.end(_nanoseconds(info.started_time))
        return await super().execute_activity(input)

    @contextmanager
    def _enqueueing(self, args: Sequence[Any]) -> Iterator[None]:
        """One local activity enqueues many calls. It belongs to the first one's trace, and has links to the others."""
        jobs = unpack_enqueue(frame_in(args[0])).jobs
        distinct = dict.fromkeys(job.header for job in jobs if job.header)
        contexts = [context for header in distinct if (context := self._root.context_of(header)) is not None]
        if not contexts:
            yield
            return
        links = [
            Link(opentelemetry.trace.get_current_span(context).get_span_context())
            for context in contexts[1 : _MOST_LINKS + 1]
        ]
        with self._root.tracer.start_as_current_span(
            "EnqueueJobs",
            context=contexts[0],
            kind=SpanKind.PRODUCER,
            links=links,
            attributes={"delegator.jobs": len(jobs)},
        ):
            yield


class _AttemptNamed(ActivityInboundInterceptor):
    """Says in the span of a handler which attempt it is."""

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        opentelemetry.trace.get_current_span().set_attribute("temporalAttempt", activity.info().attempt)
        return await super().execute_activity(input)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e9)
