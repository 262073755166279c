"""Two workflows with one step. One is written for the delegator, the other was there before it."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from delegator import delegate

with workflow.unsafe.imports_passed_through():
    from examples.hello.tasks import greet


@workflow.defn
class Hello:
    """Delegates its step."""

    @workflow.run
    async def run(self, name: str) -> str:
        """Return the greeting that a worker made."""
        return await delegate(greet, name)


@workflow.defn
class OrdinaryHello:
    """Executes an activity. The plugin delegates the call if it is given `intercept=True`."""

    @workflow.run
    async def run(self, name: str) -> str:
        """Return the greeting that a worker made."""
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=10))
