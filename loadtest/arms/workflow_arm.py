"""Arms made of workflows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from delegator_schema.queues import DEFAULT_QUEUE, queue_table
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from delegator.errors import ConfigurationError
from delegator.postgres.connections import connect as connect_database
from loadtest.arms.base import Arm, Processes, Role, Session, http_worker
from loadtest.servers.crew import WorkerProcess
from loadtest.workload.jobs import Work, expected
from loadtest.workload.options import Options
from loadtest.workload.scenarios import Load, Pattern, Scenario

_MOST_PENDING: Final = 2_000  # activities in a workflow: Temporal's default limit
_MOST_COMMAND_BYTES: Final = 3_500_000  # in a workflow task: a gRPC message holds 4 MB
_WAITING: Final = f"""
SELECT count(*) FROM {queue_table(DEFAULT_QUEUE)}
WHERE starts_with(workflow_id, %s) AND outcome IS NULL AND lease_id IS NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowArm(Arm):
    """An arm whose unit of work is a workflow."""

    workflow_type: str
    """The workflow's name on the server."""

    def check(self, scenario: Scenario, load: Load, options: Options) -> None:
        """Refuse more pending activities than Temporal allows in a workflow; see the base class too."""
        Arm.check(self, scenario, load, options)
        if self.plugin or not self.runs_jobs or scenario.pattern is not Pattern.AT_ONCE:
            return
        if load.jobs > _MOST_PENDING:
            raise ConfigurationError(
                f"--jobs {load.jobs}: Temporal allows {_MOST_PENDING} pending activities in a workflow, "
                f"so the arm {self.name} can't run more at once"
            )
        if load.jobs * options.payload_bytes > _MOST_COMMAND_BYTES:
            raise ConfigurationError(
                f"--payload-bytes {options.payload_bytes}: {load.jobs} jobs at once do not fit into a message to "
                f"Temporal, so the arm {self.name} needs fewer --jobs or smaller payloads"
            )

    async def execute(self, session: Session, work: Work) -> int:
        """Start the workflow and wait for its result."""
        workflow_id = session.workflow_id(work)
        session.open.add(workflow_id)
        handle = await session.client.start_workflow(
            self.workflow_type,
            work,
            id=workflow_id,
            task_queue=session.task_queue,
            execution_timeout=session.timeout,
            result_type=int,
        )
        try:
            answer: int = await handle.result()
        except WorkflowFailureError:
            session.open.discard(workflow_id)
            raise
        session.open.discard(workflow_id)
        return answer

    async def waiting(self, session: Session, works: Sequence[Work]) -> int:
        """Ask the queue's table, or Temporal for pending activities."""
        if session.database_url is not None:
            async with await connect_database(session.database_url, application_name="loadtest") as connection:
                row = await (await connection.execute(_WAITING, (session.prefix,))).fetchone()
                return row[0] if row else 0
        return sum(await asyncio.gather(*(_pending_activities(session, work) for work in works)))

    async def terminate(self, session: Session, execution: str) -> None:
        """Terminate the workflow."""
        await session.client.get_workflow_handle(execution).terminate("the load test ended")

    async def history_length(self, session: Session, work: Work) -> int | None:
        """Ask the server."""
        return (await session.client.get_workflow_handle(session.workflow_id(work)).describe()).history_length

    def expected(self, work: Work) -> int:
        """Return the fold of the jobs' answers; without jobs, the number of the workflow."""
        return expected(work) if self.runs_jobs else work.workflow

    def processes(self, task_queue: str, *, split: bool = False) -> Processes:
        """Return a Temporal worker and, if the arm delegates, an HTTP worker; see the base class."""
        if not self.delegates:
            if split:
                return Processes(
                    (self.temporal_worker(task_queue, Role.WORKFLOWS),),
                    (self.temporal_worker(task_queue, Role.ACTIVITIES),),
                )
            return Processes((self.temporal_worker(task_queue, Role.ALL),), ())
        if self.plugin:
            return Processes((self.temporal_worker(task_queue, Role.ALL),), (http_worker(),))
        return Processes(
            (self.temporal_worker(task_queue, Role.WORKFLOWS), _activity_delegator(task_queue)), (http_worker(),)
        )


async def _pending_activities(session: Session, work: Work) -> int:
    try:
        description = await session.client.get_workflow_handle(session.workflow_id(work)).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return 0  # not started yet
        raise
    return len(description.raw_description.pending_activities)


def _activity_delegator(task_queue: str) -> WorkerProcess:
    return WorkerProcess(
        name="delegator serve",
        argv=(
            *(sys.executable, "-m", "delegator", "serve"),
            *("--import", "loadtest.workload.handlers", "--task-queue", task_queue),
        ),
    )
