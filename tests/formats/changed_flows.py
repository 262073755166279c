"""The recorded workflows, changed as they may not be while they run: other calls, or another number of them."""

from __future__ import annotations

import asyncio

from temporalio import workflow

from delegator import delegate, delegate_map

with workflow.unsafe.imports_passed_through():
    import tests.formats.flows as flows
    import tests.formats.jobs as jobs


@workflow.defn(name="Steps")
class Steps:
    """Its two steps are swapped: the second, now of two jobs, comes first."""

    @workflow.run
    async def run(self) -> None:
        await delegate_map(jobs.double, [21, 22])
        await delegate(jobs.double, 1)


@workflow.defn(name="Map")
class Map:
    """One job less."""

    @workflow.run
    async def run(self) -> None:
        await delegate_map(jobs.double, range(4))


@workflow.defn(name="DropIn")
class DropIn:
    """Its two steps are one, of two jobs."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(jobs.double, number, start_to_close_timeout=flows.TIMEOUT)
                for number in (1, 21)
            )
        )


@workflow.defn(name="Fails")
class Fails:
    """A job of another type."""

    @workflow.run
    async def run(self) -> None:
        await delegate(jobs.double, 1)


@workflow.defn(name="Cancels")
class Cancels:
    """Its first step is of two jobs."""

    @workflow.run
    async def run(self) -> None:
        await delegate_map(jobs.double, [1, 2])
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def cancel(self) -> None: ...


@workflow.defn(name="GoesOn")
class GoesOn:
    """Its step is of two jobs."""

    @workflow.run
    async def run(self, runs: int) -> None:
        await delegate_map(jobs.double, [runs, runs])
        if runs:
            workflow.continue_as_new(runs - 1)


ALL = [Steps, Map, DropIn, Fails, Cancels, GoesOn]
