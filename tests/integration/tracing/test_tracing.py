"""One connected trace, on real servers: from the client through workflow, enqueueing and stream to the handler."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from delegator import DelegatorPlugin, PluginOptions, current_job, delegate, delegate_map, delegated
from delegator.config import Settings
from delegator.contracts import collect_types
from delegator.dev import RunningStack
from delegator.enqueue.activity_worker import activity_worker
from delegator.enqueue.enqueuer import Enqueuer
from delegator.outbox import Outbox
from delegator.postgres.connections import connection_pool
from delegator.postgres.queue_table import QueueTable
from delegator.tracing import TracingInterceptor
from http_workers import HttpWorker

SOON = timedelta(seconds=60)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=20))


@delegated(name="traced_once_failing", retry_policy=QUICKLY)
async def once_failing(text: str) -> str:
    if current_job().attempt == 1:
        raise RuntimeError("once")
    return f"{text} for {baggage.get_baggage('customer')}"


@delegated(name="traced_square")
async def square(number: int) -> int:
    return number * number


@workflow.defn(sandboxed=False)
class Delegating:
    @workflow.run
    async def run(self) -> str:
        squares = await delegate_map(square, range(3))
        text, _ = await asyncio.gather(delegate(once_failing, str(sum(squares))), delegate(square, 1))
        return text


@workflow.defn(sandboxed=False)
class Unchanged:
    @workflow.run
    async def run(self, task_queue: str | None = None) -> str:
        return await workflow.execute_activity(
            once_failing, "5", task_queue=task_queue, start_to_close_timeout=SOON, retry_policy=QUICKLY
        )


@dataclass
class Traced:
    """Programs that are traced."""

    client: Client
    settings: Settings
    interceptor: TracingInterceptor
    exporter: InMemorySpanExporter
    provider: TracerProvider

    @asynccontextmanager
    async def worker(self, *, intercept: bool = False, plugin: bool = True) -> AsyncIterator[str]:
        """A Temporal worker; its task queue."""
        task_queue = f"traced-{uuid.uuid4()}"
        plugins = [
            DelegatorPlugin(
                [once_failing, square], settings=self.settings, options=PluginOptions(), intercept=intercept
            )
        ]
        async with Worker(
            self.client, task_queue=task_queue, workflows=[Delegating, Unchanged], plugins=plugins if plugin else []
        ):
            yield task_queue

    async def execute(self, run: object, *args: object, task_queue: str) -> str:
        """Run a workflow within a span of the application, with baggage."""
        token = context.attach(baggage.set_baggage("customer", "ann"))
        try:
            with self.provider.get_tracer("application").start_as_current_span("order"):
                return await self.client.execute_workflow(
                    run, args=args, id=f"traced-{uuid.uuid4()}", task_queue=task_queue
                )  # type: ignore[call-overload, no-any-return]
        finally:
            context.detach(token)

    async def spans(self, *names: str) -> list[ReadableSpan]:
        """All spans, when there are these. An attempt's span ends about when its outcome arrives."""
        async with asyncio.timeout(30):
            while missing := sorted(set(names) - {span.name for span in self.exporter.get_finished_spans()}):
                await asyncio.sleep(0.02)
                assert missing
        return list(self.exporter.get_finished_spans())


@asynccontextmanager
async def tracing(stack: RunningStack, patch: pytest.MonkeyPatch, sampler: Sampler) -> AsyncIterator[Traced]:
    for name, value in stack.environment.items():
        patch.setenv(name, value)
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    interceptor = TracingInterceptor(provider.get_tracer("delegator"))
    client = await Client.connect(stack.environment["TEMPORAL_ADDRESS"], interceptors=[interceptor])
    traced = Traced(client, Settings.load(), interceptor, exporter, provider)
    async with HttpWorker([once_failing, square], interceptors=[interceptor], client=client, settings=traced.settings):
        yield traced


@pytest.fixture(scope="module")
async def traced(stack: RunningStack) -> AsyncIterator[Traced]:
    with pytest.MonkeyPatch.context() as patch:
        async with tracing(stack, patch, ALWAYS_ON) as programs:
            yield programs


@pytest.fixture(autouse=True)
def no_spans(traced: Traced) -> None:
    traced.exporter.clear()


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def named(spans: list[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def assert_connected(spans: list[ReadableSpan], root: str) -> None:
    """One trace, in which each span but the root has its parent."""
    ids = {span.context.span_id for span in spans}
    assert len({span.context.trace_id for span in spans}) == 1, [(span.name, span.context.trace_id) for span in spans]
    assert [span.name for span in spans if span.parent is None or span.parent.span_id not in ids] == [root]


def assert_attempts(spans: list[ReadableSpan]) -> None:
    """Two attempts of the handler, each with its time in the queue, below the call in the workflow."""
    (call,) = named(spans, "StartActivity:traced_once_failing")
    attempts = named(spans, "RunActivity:traced_once_failing")
    queued = named(spans, "Queue:traced_once_failing")
    assert [span.attributes["temporalAttempt"] for span in attempts] == [1, 2]  # type: ignore[index]
    assert [span.attributes["temporalAttempt"] for span in queued] == [1, 2]  # type: ignore[index]
    assert [span.status.is_ok for span in attempts] == [False, True]
    for waited, ran in zip(queued, attempts, strict=True):
        assert parent(waited) == parent(ran) == call.context.span_id
        assert waited.start_time <= waited.end_time <= ran.end_time  # type: ignore[operator]


async def test_delegate_and_map(traced: Traced) -> None:
    """Calls made together are enqueued together: that span is in the first one's trace, with links to the others."""
    async with traced.worker() as task_queue:
        assert await traced.execute(Delegating.run, task_queue=task_queue) == "5 for ann"
    spans = await traced.spans("RunActivity:traced_square", "RunActivity:traced_once_failing", "order")
    assert_connected(spans, "order")
    assert_attempts(spans)
    mapped, single = named(spans, "StartActivity:traced_square")
    assert (mapped.attributes["delegator.jobs"], single.attributes["delegator.jobs"]) == (3, 1)  # type: ignore[index]
    below = [parent(span) for span in named(spans, "RunActivity:traced_square")]
    assert sorted(below, key=str) == sorted([mapped.context.span_id] * 3 + [single.context.span_id], key=str)
    first, second = named(spans, "EnqueueJobs")
    assert parent(first) == mapped.context.span_id and not first.links
    (call,) = named(spans, "StartActivity:traced_once_failing")
    assert parent(second) == call.context.span_id
    assert [link.context.span_id for link in second.links] == [single.context.span_id]


async def test_intercepted(traced: Traced) -> None:
    """An unchanged `execute_activity` that is delegated has the spans that it has in a Temporal worker, and more."""
    async with traced.worker(intercept=True) as task_queue:
        assert await traced.execute(Unchanged.run, task_queue=task_queue) == "5 for ann"
    spans = await traced.spans("RunActivity:traced_once_failing", "order")
    assert_connected(spans, "order")
    assert_attempts(spans)


async def test_activity_worker(traced: Traced) -> None:
    """So has one whose activity task the delegator takes from Temporal."""
    url = traced.settings.database_url.get_secret_value()
    async with AsyncExitStack() as exits:
        task_queue = await exits.enter_async_context(traced.worker(plugin=False))
        pool = await exits.enter_async_context(connection_pool(url, application_name="test", size=2))
        enqueuer = await exits.enter_async_context(Enqueuer(pool, [QueueTable("default")], "default"))
        types = collect_types([once_failing]).values()
        await exits.enter_async_context(activity_worker(traced.client, f"{task_queue}-tasks", types, enqueuer))
        assert await traced.execute(Unchanged.run, f"{task_queue}-tasks", task_queue=task_queue) == "5 for ann"
    spans = await traced.spans("RunActivity:traced_once_failing", "order")
    assert_connected(spans, "order")
    (call,) = named(spans, "StartActivity:traced_once_failing")
    assert {parent(span) for span in named(spans, "Queue:traced_once_failing")} == {call.context.span_id}


async def test_outbox(traced: Traced) -> None:
    """A transaction's span is the parent of the workflow that it starts, and of the plain job that it enqueues."""
    outbox = Outbox(traced.settings, headers=traced.interceptor.outgoing)
    name = f"traced-{uuid.uuid4()}"
    url = traced.settings.database_url.get_secret_value()
    async with traced.worker() as task_queue, await psycopg.AsyncConnection.connect(url) as connection:
        token = context.attach(baggage.set_baggage("customer", "ann"))
        try:
            with traced.provider.get_tracer("application").start_as_current_span("transaction"):
                await outbox.aio.start_workflow(connection, Delegating.run, id=name, task_queue=task_queue)
                await outbox.aio.enqueue(connection, square, 4)
        finally:
            context.detach(token)
        await connection.commit()
        await traced.spans("RunWorkflow:Delegating")
        assert await traced.client.get_workflow_handle(name).result() == "5 for ann"
        spans = await traced.spans("Outbox:EnqueueJob:traced_square", "RunActivity:traced_once_failing")
    (start,) = named(spans, "Outbox:StartWorkflow:Delegating")
    (run,) = named(spans, "RunWorkflow:Delegating")
    (job,) = named(spans, "Outbox:EnqueueJob:traced_square")
    assert parent(run) == start.context.span_id
    assert job.context.span_id in [parent(span) for span in named(spans, "RunActivity:traced_square")]
    assert_connected(spans, "transaction")


async def test_not_sampled(stack: RunningStack) -> None:
    """The application's sampler decides for all of it, and the baggage still arrives."""
    with pytest.MonkeyPatch.context() as patch:
        async with tracing(stack, patch, ALWAYS_OFF) as programs, programs.worker() as task_queue:
            assert await programs.execute(Delegating.run, task_queue=task_queue) == "5 for ann"
            assert programs.exporter.get_finished_spans() == ()
