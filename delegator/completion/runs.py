"""What Temporal knows of the workflow runs that wait for outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingWorkflowTaskState, WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from delegator.backoff import Backoff

_FIRST_LOOK_AFTER = 0.01
_LONGEST_BETWEEN_LOOKS = 0.1
_OPEN = (
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
)


class RunKey(NamedTuple):
    """The workflow run that enqueued a job."""

    namespace: str
    workflow_id: str
    run_id: str


class Runs:
    """Asks Temporal about runs."""

    def __init__(self, client: Client, pause: Callable[[Exception, Backoff], Awaitable[None]]) -> None:
        """Prepare the questions.

        Args:
            client: Temporal's client.
            pause: awaited before a call that failed is made again.
        """
        self._client = client
        self._pause = pause

    async def successor(self, key: RunKey) -> str | None:
        """Return the open run that continues a closed one (reset, continue-as-new, retry); None: there is none.

        Waits for as long as Temporal is away.
        """
        first = await self._describe(key)
        current = await self._describe(key._replace(run_id=""))
        if first is None or current is None:
            return None
        info, now = first.workflow_execution_info, current.workflow_execution_info
        return now.execution.run_id if info.first_run_id == now.first_run_id and now.status in _OPEN else None

    async def workflow_task_ended(self, key: RunKey) -> None:
        """Wait until no workflow task of the run is under way that was when this was called.

        Until then signals can't be seen by the workflow, only fill the server's buffer; one that holds more than 100
        events or 2 MB makes it fail the task (`history.maximumBufferedEventsBatch` and `...SizeInBytes` of Temporal's
        dynamic configuration). A task that local activities keep open ends with its next heartbeat. Where Temporal
        does not say, nothing is waited for.
        """
        first = await self._workflow_task(key)
        pause = _FIRST_LOOK_AFTER
        while first is not None:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_BETWEEN_LOOKS)
            if await self._workflow_task(key) != first:
                return

    async def _workflow_task(self, key: RunKey) -> tuple[int, int] | None:
        """Return what tells the started workflow task from others: when it was started, and its attempt."""
        try:
            reply = await self._ask(key)
        except (RPCError, RuntimeError):
            return None
        task = reply.pending_workflow_task
        if task.state != PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED:
            return None
        return task.started_time.ToNanoseconds(), task.attempt

    async def _describe(self, key: RunKey) -> DescribeWorkflowExecutionResponse | None:
        backoff = Backoff()
        while True:
            try:
                return await self._ask(key)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                await self._pause(error, backoff)
            except RuntimeError as error:  # a lazy client that could not connect
                await self._pause(error, backoff)

    async def _ask(self, key: RunKey) -> DescribeWorkflowExecutionResponse:
        return await self._client.workflow_service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(
                namespace=key.namespace,
                execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id),
            )
        )
