"""The workflow that a deleted row starts."""

from __future__ import annotations

from temporalio import workflow

from delegator import delegate

with workflow.unsafe.imports_passed_through():
    from examples.outbox.tasks import remove_files, send_goodbye


@workflow.defn
class DeleteUser:
    """Cleans up what the database does not hold, then tells the user."""

    @workflow.run
    async def run(self, user: str, email: str) -> None:
        """Clean up after a user."""
        await delegate(remove_files, user)
        await delegate(send_goodbye, email)
