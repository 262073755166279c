"""The workflows of the arms. `ActivityWork` serves classic and drop-in: the same code, an interceptor apart."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from delegator import delegate, delegate_map
    from loadtest.scenarios import Pattern
    from loadtest.tasks import crunch
    from loadtest.work import Piece, Work, fold


@workflow.defn(name="loadtest_floor")
class FloorWork:
    """A workflow that returns at once: what Temporal costs before any job."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Return the number of the workflow."""
        return work.workflow


@workflow.defn(name="loadtest_activities")
class ActivityWork:
    """Ordinary activities."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run the jobs and fold their answers."""
        if work.pattern is Pattern.IN_TURN:
            return fold([await self._call(piece) for piece in work.pieces()])
        return fold(await asyncio.gather(*map(self._call, work.pieces())))

    async def _call(self, piece: Piece) -> int:
        return await workflow.execute_activity(crunch, piece, start_to_close_timeout=timedelta(seconds=60))


@workflow.defn(name="loadtest_delegated")
class DelegatedWork:
    """Delegated jobs."""

    @workflow.run
    async def run(self, work: Work) -> int:
        """Run the jobs and fold their answers."""
        if work.pattern is Pattern.IN_TURN:
            return fold([await delegate(crunch, piece) for piece in work.pieces()])
        return fold(await delegate_map(crunch, work.pieces()))
