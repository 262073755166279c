"""Asks Temporal about the workflow runs that wait for outcomes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, NamedTuple

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingWorkflowTaskState, WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from delegator.runtime.backoff import Backoff

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 3.0  # shorter than the sweeper's grace before it times out a job that has ended
_TRANSIENT = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
)
OPEN_STATUSES: Final = (
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
)
"""The states of a run that has not closed."""


class RunKey(NamedTuple):
    """The workflow run that enqueued a job."""

    namespace: str
    workflow_id: str
    run_id: str


class Runs:
    """Asks Temporal which run is open, and whether its workflow task has ended."""

    def __init__(
        self,
        client: Client,
        pause: Callable[[RunKey, Exception, Backoff], Awaitable[None]],
        timed: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        """Nothing is asked yet.

        Args:
            client: Temporal's client.
            pause: awaited with the run, the error and a back-off before a failed call is repeated.
            timed: returns a context that measures a call, by the call's name.
        """
        self._client = client
        self._pause = pause
        self._timed = timed

    def use_client(self, client: Client) -> None:
        """Use another client from here on."""
        self._client = client

    async def successor(self, key: RunKey) -> str | None:
        """Return the open run that continues a closed one (reset, continue-as-new, retry); None: there is none.

        It waits as long as Temporal does not answer.
        """
        first = await self.describe(key)
        current = await self.describe(key._replace(run_id=""))
        if first is None or current is None:
            return None
        info, now = first.workflow_execution_info, current.workflow_execution_info
        return now.execution.run_id if info.first_run_id == now.first_run_id and now.status in OPEN_STATUSES else None

    async def continuing(self, key: RunKey) -> str | None:
        """Like `successor`, but an open run that is not its chain's first may continue a closed run that is gone."""
        current = await self.describe(key._replace(run_id=""))
        if current is None or current.workflow_execution_info.status not in OPEN_STATUSES:
            return None
        now = current.workflow_execution_info
        first = await self.describe(key)
        if first is None:
            is_other = now.first_run_id == now.execution.run_id
        else:
            is_other = first.workflow_execution_info.first_run_id != now.first_run_id
        return None if is_other else now.execution.run_id

    async def workflow_task_ended(self, key: RunKey, give_up: Callable[[], bool]) -> None:
        """Wait until the run's workflow task that is open now has ended, for at most 3 seconds.

        While the task is open, the server buffers signals, and the workflow can't see them. When the buffer holds more
        than 100 events or 2 MB, the server fails the task (`history.maximumBufferedEventsBatch` and `...SizeInBytes` in
        Temporal's dynamic configuration). If Temporal refuses to describe the run, this returns at once.

        Args:
            key: the run.
            give_up: called repeatedly; True ends the wait.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _LONGEST_WAIT_SECONDS
        first: tuple[int, int] | None = None
        pause = _FIRST_PAUSE_SECONDS
        while not give_up() and loop.time() < until:
            try:
                task = await self._workflow_task(key)
            except RPCError as error:
                if error.status not in _TRANSIENT:
                    return
            except RuntimeError:  # a lazy client that could not connect
                pass
            else:
                if task is None or (first is not None and task != first):
                    return
                first = task
            # The pause is random, because workers that look at the same moments would also send at the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    async def _workflow_task(self, key: RunKey) -> tuple[int, int] | None:
        """Return what identifies the open workflow task: its start and its attempt; None: no task is open."""
        task = (await self._ask(key)).pending_workflow_task
        if task.state != PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED:
            return None
        return task.started_time.ToNanoseconds(), task.attempt

    async def describe(self, key: RunKey) -> DescribeWorkflowExecutionResponse | None:
        """Return what Temporal knows of a run, or of the current one if `run_id` is empty; None: it is gone.

        It repeats a failed call as long as `pause` returns.
        """
        backoff = Backoff()
        while True:
            try:
                return await self._ask(key)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                await self._pause(key, error, backoff)
            except RuntimeError as error:  # a lazy client that could not connect
                await self._pause(key, error, backoff)

    async def _ask(self, key: RunKey) -> DescribeWorkflowExecutionResponse:
        request = DescribeWorkflowExecutionRequest(
            namespace=key.namespace, execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id)
        )
        with self._timed("DescribeWorkflowExecution"):
            return await self._client.workflow_service.describe_workflow_execution(request)


async def give_up(key: RunKey, error: Exception, backoff: Backoff) -> None:
    """Raise the error of a failed call, for a caller of `Runs` that does not repeat it."""
    raise error
