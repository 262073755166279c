"""What Temporal knows of the workflow runs that wait for outcomes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingWorkflowTaskState, WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from delegator.runtime.backoff import Backoff

_FIRST_LOOK_AFTER = 0.01
_LONGEST_BETWEEN_LOOKS = 0.1
_LONGEST_HOLD = 3.0  # Less than the sweeper waits before it times out a job whose outcome is still on its way
_PASSING = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
)
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

    async def workflow_task_ended(self, key: RunKey, give_up: Callable[[], bool]) -> None:
        """Wait until no workflow task of the run is under way that was when this was called; for 3 s at most.

        Until then signals can't be seen by the workflow, only fill the server's buffer; one that holds more than 100
        events or 2 MB makes it fail the task (`history.maximumBufferedEventsBatch` and `...SizeInBytes` of Temporal's
        dynamic configuration). Where Temporal will not say, nothing is waited for.

        Args:
            key: the run.
            give_up: asked now and then whether to wait no longer.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _LONGEST_HOLD
        first: tuple[int, int] | None = None
        pause = _FIRST_LOOK_AFTER
        while not give_up() and loop.time() < until:
            try:
                task = await self._workflow_task(key)
            except RPCError as error:
                if error.status not in _PASSING:
                    return
            except RuntimeError:  # a lazy client that could not connect
                pass
            else:
                if task is None or (first is not None and task != first):
                    return
                first = task
            # No two workers look at the same moments, or what each sends then would come together.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, _LONGEST_BETWEEN_LOOKS)

    async def _workflow_task(self, key: RunKey) -> tuple[int, int] | None:
        """Return what identifies the started workflow task: when it was started, and its attempt."""
        task = (await self._ask(key)).pending_workflow_task
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
