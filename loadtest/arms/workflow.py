"""Arms made of workflows."""

from __future__ import annotations

from dataclasses import dataclass

from delegator.errors import ConfigurationError
from loadtest.arms.base import Arm, Session
from loadtest.scenarios import Load, Pattern, Scenario
from loadtest.work import Work, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowArm(Arm):
    """An arm whose unit of work is a workflow."""

    workflow_type: str
    """The workflow's name on the server."""
    most_pending: int | None = None
    """Most jobs a workflow may have in flight; None: no limit."""

    def check(self, scenario: Scenario, load: Load) -> None:
        """Refuse more pending activities than Temporal allows a workflow."""
        if self.most_pending is not None and scenario.pattern is Pattern.AT_ONCE and load.jobs > self.most_pending:
            raise ConfigurationError(
                f"--jobs {load.jobs}: Temporal allows {self.most_pending} pending activities in a workflow, "
                f"so the arm {self.name} can't run more at once"
            )

    async def execute(self, session: Session, work: Work) -> int:
        """Start the workflow and wait for its result."""
        answer: int = await session.client.execute_workflow(
            self.workflow_type,
            work,
            id=session.workflow_id(work),
            task_queue=session.task_queue,
            execution_timeout=session.timeout,
            result_type=int,
        )
        return answer

    async def history_length(self, session: Session, work: Work) -> int | None:
        """Ask the server."""
        return (await session.client.get_workflow_handle(session.workflow_id(work)).describe()).history_length

    def expected(self, work: Work) -> int:
        """Return the fold of the jobs' answers; the floor returns its number."""
        return expected(work) if self.runs_jobs else work.workflow
