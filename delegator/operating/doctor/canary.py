"""Sends a job through the whole path: workflow, table, stream, worker, and back to the workflow."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from datetime import timedelta

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from delegator.config import Settings
from delegator.errors import DelegatorError, first_line
from delegator.operating import jobs
from delegator.operating.canary_flow import CanaryFlow
from delegator.operating.canary_type import CANARY
from delegator.operating.doctor.check import Check, failed, ok, split
from delegator.plugin import DelegatorPlugin
from delegator.postgres.job_views import JobSelection

_SONG = "la la la"


async def check_canary(client: Client, settings: Settings, limit: timedelta) -> list[Check]:
    """Try every queue, one after another, with a Temporal worker of this process.

    Args:
        client: for Temporal, with the data converter of the settings.
        settings: where the servers are, and the queues.
        limit: how long a job may take.
    """
    task_queue = f"delegator-doctor-{uuid.uuid4()}"
    plugin = DelegatorPlugin(settings=settings)
    try:
        async with Worker(client, task_queue=task_queue, plugins=[plugin], workflows=[CanaryFlow]):
            return [await _try(client, task_queue, settings, queue, limit) for queue in settings.queues]
    except (DelegatorError, RuntimeError) as error:
        return [failed("canary", *split(str(error), "see the checks above"))]


async def _try(client: Client, task_queue: str, settings: Settings, queue: str, limit: timedelta) -> Check:
    link = f"canary in queue {queue}"
    workflow_id = f"delegator-canary-{uuid.uuid4()}"
    loop = asyncio.get_running_loop()
    began = loop.time()
    handle: WorkflowHandle[CanaryFlow, str] | None = None
    try:
        async with asyncio.timeout(limit.total_seconds()):
            handle = await client.start_workflow(
                CanaryFlow.run,
                args=[queue, _SONG],
                id=workflow_id,
                task_queue=task_queue,
                execution_timeout=limit + timedelta(minutes=1),
            )
            result = await handle.result()
    except TimeoutError:
        found = await jobs.find(settings, (queue,), JobSelection(workflow_id=workflow_id))
        if handle is not None:
            with suppress(RPCError):  # its execution timeout ends it, and with it its job
                await handle.terminate("delegator doctor gave up")
        seconds = f"within {limit.total_seconds():g} s"
        if not found:
            return failed(link, f"the workflow did not enqueue its job {seconds}", "see the checks of Temporal above")
        explanation = found[0].explanation
        return failed(link, f"the job did not come through {seconds}: {explanation.text}", explanation.needs)
    except WorkflowFailureError as error:
        return failed(link, f"the workflow failed: {_root(error)}", f"see workflow {workflow_id} in Temporal")
    except RPCError as error:
        return failed(
            link, f"Temporal refuses the workflow: {first_line(error)}", "see TEMPORAL_NAMESPACE and the roles"
        )
    if result != _SONG:
        return failed(link, "its result differs from its argument", "see DELEGATOR_DATA_CONVERTER of all processes")
    return ok(link, f"a job of type {CANARY} went from workflow to worker and back in {loop.time() - began:.2f} s")


def _root(error: BaseException) -> str:
    """Return the type of the error behind all others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
