"""Temporal's standalone activities: no workflow at all; the client makes the batch and waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from temporalio.service import RPCError, RPCStatusCode

from delegator.errors import TemporalError
from loadtest.arms.base import Arm, Session
from loadtest.scenarios import Load, Pattern, Scenario
from loadtest.tasks import crunch
from loadtest.work import Piece, Work, expected, fold


@dataclass(frozen=True, slots=True, kw_only=True)
class StandaloneArm(Arm):
    """An arm whose unit of work is a batch of activities started by the client."""

    def check(self, scenario: Scenario, load: Load) -> None:
        """Carry anything."""

    async def execute(self, session: Session, work: Work) -> int:
        """Start the batch's activities and wait for all results."""
        if work.pattern is Pattern.IN_TURN:
            return fold([await self._call(session, work, piece) for piece in work.pieces()])
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(self._call(session, work, piece)) for piece in work.pieces()]
        return fold(call.result() for call in calls)

    async def history_length(self, session: Session, work: Work) -> int | None:
        """Return None: no workflow, no history."""
        return None

    def expected(self, work: Work) -> int:
        """Return the fold of the jobs' answers."""
        return expected(work)

    async def _call(self, session: Session, work: Work, piece: Piece) -> int:
        try:
            return await session.client.execute_activity(
                crunch,
                piece,
                id=f"{session.workflow_id(work)}-{piece.job}",
                task_queue=session.task_queue,
                schedule_to_close_timeout=session.timeout,
            )
        except RPCError as error:
            if error.status is RPCStatusCode.UNIMPLEMENTED:
                raise TemporalError(
                    "this Temporal server has no standalone activities: "
                    "use a server that has them (1.31 or newer), or leave the arm standalone out"
                ) from None
            raise
