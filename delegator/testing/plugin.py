"""The Temporal plugin for tests: `DelegatorPlugin`, with an engine in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack

from temporalio.worker import Interceptor, Worker

from delegator.completion.asynchronous import OpenAttempts
from delegator.config import Settings
from delegator.contracts import Source
from delegator.contracts.collect import resources_in
from delegator.enqueue.policy import InlinePolicy
from delegator.plugin import DelegatorPlugin, PluginOptions
from delegator.runtime.search_attributes import check_search_attributes
from delegator.testing.activities import InMemoryActivities
from delegator.testing.engine import InMemoryEngine
from delegator.testing.handlers import Fakes, Provided
from delegator.testing.left_open import InMemoryAttempts


class DelegatorTestPlugin(DelegatorPlugin):
    """Makes workers able to delegate to handlers in the test's own process.

    Use it in place of `DelegatorPlugin`, for a client or for a worker:

        plugin = DelegatorTestPlugin([tasks], fakes={tasks.send_mail: AsyncMock(return_value=None)})
        async with Worker(client, task_queue="test", workflows=[OrderWorkflow], plugins=[plugin]):
            await client.execute_workflow(OrderWorkflow.run, id="order-1", task_queue="test")
        assert [job.args for job in plugin.engine.jobs_of(tasks.send_mail)] == [["order-1 is on its way"]]

    Workflows see what they see in production: the same commands, the same local activities, the same signals. The only
    server that a test needs is Temporal's: a dev server, or Temporal's test environment.
    """

    def __init__(
        self,
        delegated: Iterable[Source] = (),
        *,
        fakes: Fakes | None = None,
        provide: Provided | None = None,
        resources: Iterable[Source] = (),
        options: PluginOptions | None = None,
        intercept: bool | None = None,
        interceptors: Sequence[Interceptor] = (),
        skip_retry_delays: bool = True,
        paused: bool = False,
        jobs_outlive_runs: bool = False,
        search_attributes: bool = False,
    ) -> None:
        """Prepare the plugin; nothing runs yet.

        Args:
            delegated: what the `HttpWorker` is given in production: modules, functions, objects, resources.
            fakes: what runs in place of some handlers; keys are declared functions or names of types. A contract,
                whose handler is elsewhere, needs one.
            provide: values of resources; the other ones are opened when a worker starts.
            resources: resources, or modules that hold them, that the worker's own activities use.
            options: how to delegate, as in production. What concerns PostgreSQL has no effect.
            intercept: short for `PluginOptions(intercept=...)`.
            interceptors: what the `HttpWorker` is given in production.
            skip_retry_delays: begin the next attempt at once; see `InMemoryEngine`.
            paused: take no jobs until `engine.resume()`, as if no worker ran.
            jobs_outlive_runs: jobs go on when their workflow run has closed; see `InMemoryEngine`.
            search_attributes: workflows that wait for jobs set their search attributes, as with
                `DELEGATOR_SEARCH_ATTRIBUTES`. The namespace must have them. Workflows then ask for their jobs after
                `PluginOptions.look_after`.

        Raises:
            ConfigurationError: a declaration or a fake is wrong.
        """
        delegated = list(delegated)
        # The environment's settings name servers, of which a test needs none.
        super().__init__(delegated, settings=Settings.model_construct(), options=options, intercept=intercept)
        self.engine = InMemoryEngine(
            [*delegated, *resources_in(resources)],
            fakes=fakes,
            provide=provide,
            interceptors=interceptors,
            skip_retry_delays=skip_retry_delays,
            paused=paused,
            jobs_outlive_runs=jobs_outlive_runs,
        )
        """Runs the jobs, and tells what was run."""
        policy = InlinePolicy(self._options.inline_wait.total_seconds(), self._options.inline_slots)
        # Jobs are not lost here. A timer to ask for them is only in the way of an environment that skips time.
        look_ms = round(self._options.look_after.total_seconds() * 1000) if search_attributes else 0
        local = InMemoryActivities(self.engine, policy, look_ms=look_ms, search_attributes=search_attributes)
        self.activities = [local.enqueue, local.cancel, local.look]
        self._search_attributes = search_attributes

    def _open_attempts(self) -> OpenAttempts:
        return InMemoryAttempts(lambda: self.engine.service)

    async def _start(self, stack: AsyncExitStack, worker: Worker, stop: asyncio.Event) -> bool:
        await check_search_attributes(worker.client, are_set=self._search_attributes)
        await stack.enter_async_context(self.engine.serving(worker.client))
        return True
