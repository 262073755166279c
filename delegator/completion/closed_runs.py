"""Asks Temporal which runs have closed, and which of their jobs no run waits for any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import Final

from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.common import RawValue
from temporalio.service import RPCError

from delegator.completion.runs import OPEN_STATUSES, RunKey, Runs, give_up
from delegator.errors import WireError
from delegator.wire.frames import to_raw_value
from delegator.wire.pending import PENDING_QUERY, pack_job_ids, unpack_job_ids

MOST_RUNS: Final = 100
"""Largest number of runs in one question to the visibility store."""

_MOST_IDS: Final = 1_000
_QUERY_TIMEOUT: Final = timedelta(seconds=5)


class RunState(Enum):
    """What Temporal knows of a run."""

    OPEN = "open"
    CLOSED = "closed"
    GONE = "gone"
    """Nothing: it was deleted, or this is another Temporal than the one that ran it."""


class ClosedRuns:
    """Knows whether runs have closed. Each call raises RPCError, or RuntimeError, if Temporal does not answer."""

    def __init__(self, client: Client) -> None:
        """Nothing is asked yet.

        Args:
            client: Temporal's client.
        """
        self._client = client
        self._runs = Runs(client, give_up)

    async def running(self, namespace: str, run_ids: Sequence[str]) -> set[str]:
        """Return those runs that are open as far as the visibility store knows.

        It lags behind: a run that is not returned may be open, too, so ask for its `state`.

        Args:
            namespace: of the runs.
            run_ids: at most `MOST_RUNS`.
        """
        # Run ids are UUIDs from a column of that type.
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
        reply = await self._client.workflow_service.list_workflow_executions(
            ListWorkflowExecutionsRequest(namespace=namespace, page_size=len(run_ids), query=f"RunId IN ({listed})")
        )
        return {one.execution.run_id for one in reply.executions if one.status in OPEN_STATUSES}

    async def state(self, key: RunKey) -> RunState:
        """Return whether a run has closed. This answer is definitive: history gives it."""
        described = await self._runs.describe(key)
        if described is None:
            return RunState.GONE
        return RunState.OPEN if described.workflow_execution_info.status in OPEN_STATUSES else RunState.CLOSED

    async def unwanted(self, key: RunKey, job_ids: Sequence[str]) -> set[str]:
        """Return those jobs of a closed run that no open run waits for. If that can't be known now, it is none.

        A run that continues the closed one after a reset has taken over the jobs that were enqueued before the point of
        the reset. Only its own code knows which these are, so it is asked by a query.

        Args:
            key: the closed run.
            job_ids: its jobs.
        """
        successor = await self._runs.continuing(key)
        if successor is None:
            return set(job_ids)
        unwanted: set[str] = set()
        for start in range(0, len(job_ids), _MOST_IDS):
            asked = job_ids[start : start + _MOST_IDS]
            pending = await self._pending(key, successor, asked)
            if pending is not None:
                unwanted |= set(asked) - pending
        return unwanted

    async def _pending(self, key: RunKey, run_id: str, job_ids: Sequence[str]) -> set[str] | None:
        """Return which of the jobs a run waits for; None: it does not say."""
        client = self._client
        if client.namespace != key.namespace:
            client = Client(client.service_client, namespace=key.namespace, data_converter=client.data_converter)
        handle = client.get_workflow_handle(key.workflow_id, run_id=run_id)
        try:
            answer: RawValue = await handle.query(
                PENDING_QUERY, to_raw_value(pack_job_ids(job_ids)), result_type=RawValue, rpc_timeout=_QUERY_TIMEOUT
            )
            return set(unpack_job_ids(answer.payload.data))
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError, RPCError, WireError):
            return None  # no worker runs, or it runs an older release
