"""The pool of a worker process that gets its jobs from a gateway: starts and stops its parts in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from functools import partial
from typing import Final

from temporalio.worker import Interceptor

from delegator.config import Settings
from delegator.contracts import DYNAMIC_TYPE, Declared, opened_resources
from delegator.errors import ConfigurationError
from delegator.postgres.lease_keeper import holder_name
from delegator.runtime.connection_state import SharedConnection
from delegator.runtime.startup import wait_for
from delegator.runtime.temporal_client import load_data_converter
from delegator.wire.worker_protocol import MOST_LEASE_SECONDS
from http_workers.attempt import AttemptRunner, Ended
from http_workers.background import background
from http_workers.clients import ClientHolder
from http_workers.job import Job
from http_workers.job_pool import JobPool
from http_workers.limits import TypeLimits
from http_workers.monitor import watch_clock
from http_workers.options import WorkerOptions
from http_workers.pool import Surroundings, types_served
from http_workers.slots import Slots
from http_workers.threads import handler_threads
from http_workers.via.client import GatewayClient, GatewayRefusedError
from http_workers.via.jobs import RemoteJob
from http_workers.via.outcomes import Outcomes
from http_workers.via.polls import Polls
from http_workers.via.signs import SignsOfLife
from http_workers.winding_down import wind_down

_POLLERS: Final = 2
_LONGEST_ROUND: Final = timedelta(seconds=40)
_MOST_TYPES: Final = 1_000

_log = logging.getLogger(__name__)


async def serve(
    options: WorkerOptions,
    settings: Settings,
    declared: Declared,
    surroundings: Surroundings,
    stop: asyncio.Event,
    started: Callable[[], None],
    *,
    executor: Executor | None = None,
    interceptors: Sequence[Interceptor] = (),
    clients: ClientHolder | None = None,
) -> None:
    """Run jobs of a gateway until asked to stop. The arguments are those of `http_workers.pool.serve`.

    Raises:
        ConfigurationError: a setting is wrong, or the gateway refuses this worker.
        DependencyError: the gateway can't be reached at the start, or a resource can't be opened.
    """
    handlers, metrics = declared.handlers, surroundings.metrics
    clients = clients or ClientHolder(None)
    converter = clients.client.data_converter if clients.client else load_data_converter(settings.data_converter)
    types = _polled(declared)
    lease_seconds = min(settings.lease.total_seconds(), MOST_LEASE_SECONDS)
    slots = Slots(options.concurrency)
    gateway = SharedConnection(surroundings.states["gateway"])
    async with AsyncExitStack() as stack:
        # It may be lazy, and only a handler that asks for it needs Temporal.
        client = await clients.connected(converter, f"http-worker {holder_name()}")
        if executor is None:
            executor = stack.enter_context(handler_threads(options.threads or options.concurrency))
        runner = AttemptRunner(handlers, converter, options.queue, metrics, executor, client, interceptors)
        clients.add_users(runner.use_client)
        jobs = JobPool(runner, TypeLimits(handlers, options.concurrency // 4), slots, metrics)
        requests = await stack.enter_async_context(
            GatewayClient(options.via or "", settings, surroundings.states["gateway"])
        )
        outcomes = Outcomes(
            client=requests,
            converter=converter,
            state=gateway.part("outcomes"),
            metrics=metrics,
            on_finished=jobs.finished,
            log_messages=settings.log_messages,
        )
        signs = SignsOfLife(
            client=requests,
            converter=converter,
            state=gateway.part("signs of life"),
            held=jobs.held,
            running=jobs.running,
            metrics=metrics,
            lease_seconds=lease_seconds,
        )
        polls = Polls(
            client=requests,
            queue=options.queue,
            types=types,
            lease_seconds=lease_seconds,
            worker=holder_name(),
            slots=slots,
            start=lambda job: jobs.start(job, outcomes),
            give_back=lambda job: outcomes.add(_given_back(job)),
            state=gateway.part("polls"),
            metrics=metrics,
        )
        await stack.enter_async_context(opened_resources(declared.resources))
        async with background(
            outcomes.run(), signs.run(), watch_clock(jobs.running, lambda job: jobs.report(job, outcomes))
        ):

            async def first() -> None:
                try:
                    await polls.first()
                except GatewayRefusedError as error:
                    raise ConfigurationError(str(error)) from None

            if not await wait_for(first, settings.start_timeout, gateway.part("polls"), stop):
                return
            served = ",".join(types_served(handlers, options.queue))
            _log.info("worker_started", extra={"queue": options.queue, "types": served})
            with ExitStack() as watched:
                limit = max(options.stall_limit, _LONGEST_ROUND)
                share = -(-options.concurrency // _POLLERS)
                async with asyncio.TaskGroup() as group:
                    for number in range(min(_POLLERS, options.concurrency)):
                        progress = watched.enter_context(surroundings.liveness.watch(f"poll_{number}", limit))
                        group.create_task(polls.run(progress, share))
                    started()
                    await stop.wait()
                    runner.shut_down()
                    _log.info("worker_stopping", extra={"running": len(jobs.running)})
                    polls.stop()
            await wind_down(jobs.running, options.grace, partial(_finish, outcomes))
    _log.info("worker_stopped")


def _polled(declared: Declared) -> list[str]:
    """Return the types to ask for.

    Raises:
        ConfigurationError: a handler is for types that have no names here.
    """
    if DYNAMIC_TYPE in declared.handlers:
        raise ConfigurationError(
            "--via: a dynamic handler can't be used with a gateway, which gives jobs by type: declare each type"
        )
    if len(declared.handlers) > _MOST_TYPES:
        raise ConfigurationError(
            f"--via: {len(declared.handlers)} types are declared, and a gateway takes {_MOST_TYPES}: use more workers"
        )
    return sorted(declared.handlers)


def _given_back(job: RemoteJob) -> Ended:
    job.given_back = True
    return Ended(job)


async def _finish(outcomes: Outcomes, rest: Sequence[Job]) -> None:
    """Give back what has not ended, and report everything."""
    for job in rest:
        if not job.reported and job.task is not None:
            outcomes.add(Ended(job))
    await outcomes.flush()
