"""The arm `standalone`: Temporal's standalone activities. There is no workflow; the client waits for the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.client import ActivityFailureError
from temporalio.service import RPCError, RPCStatusCode

from delegator.contracts import delegated_type
from delegator.errors import TemporalError
from loadtest.arms.base import Arm, Processes, Role, Session
from loadtest.workload.handlers import RETRY, START_TO_CLOSE, crunch, toil
from loadtest.workload.jobs import Chore, Work, expected, fold
from loadtest.workload.ledger import record_results
from loadtest.workload.scenarios import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class StandaloneArm(Arm):
    """An arm whose unit of work is a batch of activities started by the client."""

    async def execute(self, session: Session, work: Work) -> int:
        """Start the batch's activities and wait for all results."""
        tasks: Sequence[int | Chore] = work.numbers() if work.shape is None else work.chores()
        if work.pattern is Pattern.IN_TURN:
            answers = []
            for job, task in enumerate(tasks):
                answers.append(await self._call(session, work, job, task))
                record_results(work.workflow, (job,), str(session.ledger))
            return fold(answers)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(self._call(session, work, job, task)) for job, task in enumerate(tasks)]
        record_results(work.workflow, range(work.jobs), str(session.ledger))
        return fold(call.result() for call in calls)

    async def waiting(self, session: Session, works: Sequence[Work]) -> int:
        """Ask Temporal; its answer is up to a second old."""
        query = f"TaskQueue = '{session.task_queue}' AND ExecutionStatus = 'Running'"
        return (await session.client.count_activities(query)).count

    async def terminate(self, session: Session, execution: str) -> None:
        """Terminate the activity."""
        await session.client.get_activity_handle(execution).terminate(reason="the load test ended")

    async def history_length(self, session: Session, work: Work) -> int | None:
        """Return None: there is no workflow, so there is no history."""
        return None

    def expected(self, work: Work) -> int:
        """Return the fold of the jobs' answers."""
        return expected(work)

    def processes(self, task_queue: str, *, split: bool = False) -> Processes:
        """Return one Temporal worker; see the base class."""
        if split:
            return Processes((), (self.temporal_worker(task_queue, Role.ACTIVITIES),))
        return Processes((self.temporal_worker(task_queue, Role.ALL),), ())

    async def _call(self, session: Session, work: Work, job: int, task: int | Chore) -> int:
        execution = f"{session.workflow_id(work)}-{job}"
        session.open.add(execution)
        try:
            handle = await session.client.start_activity(
                delegated_type(toil if isinstance(task, Chore) else crunch).name,
                task,
                id=execution,
                result_type=int,
                task_queue=session.task_queue,
                start_to_close_timeout=START_TO_CLOSE,
                schedule_to_close_timeout=session.timeout,
                retry_policy=RETRY if isinstance(task, Chore) else None,
            )
            answer: int = await handle.result()
        except RPCError as error:
            if error.status is RPCStatusCode.UNIMPLEMENTED:
                raise TemporalError(
                    "this Temporal server has no standalone activities: "
                    "use a server that has them (1.31 or newer), or leave the arm standalone out"
                ) from None
            raise
        except ActivityFailureError:
            session.open.discard(execution)
            raise
        session.open.discard(execution)
        return answer
