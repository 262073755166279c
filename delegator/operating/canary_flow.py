"""The workflow by which `delegator doctor` tries the whole path."""

from __future__ import annotations

from temporalio import workflow

from delegator import delegate
from delegator.operating.canary_type import CANARY


@workflow.defn(name="delegator-canary")
class CanaryFlow:
    """Delegates one job."""

    @workflow.run
    async def run(self, queue: str, text: str) -> str:
        """Return what the handler returned.

        Args:
            queue: where the job goes.
            text: its argument.
        """
        return str(await delegate(CANARY, text, queue=queue, result_type=str))
