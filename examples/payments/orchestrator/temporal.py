"""What the API asks of Temporal. Workflows are named by strings, so that the API needs no workflow code.

RPCError passes through: NOT_FOUND means that there is no such payment, all else that Temporal does not answer.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final, Literal

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from examples.payments.contracts import STAGE, STATUS, TASK_QUEUE, Payment, State, Times, workflow_id

PATIENCE: Final = timedelta(seconds=float(os.environ.get("PAYMENTS_PATIENCE", "3")))
"""For one call of Temporal. A query takes this long when no worker answers."""
_NEW: Final = TypedSearchAttributes([SearchAttributePair(STATUS, "pending"), SearchAttributePair(STAGE, "validating")])


class Payments:
    """The payments' workflows."""

    def __init__(self, client: Client, times: Times) -> None:
        """Use a client, which may be lazy. The times are those of new payments."""
        self._client, self._times = client, times

    async def start(self, payment: Payment, wait: float | None) -> bool | None:
        """Start a payment, and wait some seconds for the decision; None: do not wait.

        Returns:
            True: it is new; False: the same one was asked for before; None: another one was, with the same key.
        """
        terms: dict[str, Any] = {
            "args": [payment, self._times],
            "id": workflow_id(payment.payment_id),
            "task_queue": TASK_QUEUE,
            "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
            "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
            "memo": {"payment": asdict(payment)},
            "search_attributes": _NEW,
        }
        try:
            if wait is None:
                await self._client.start_workflow("Payment", **terms, rpc_timeout=PATIENCE)
            else:
                await self._start_and_wait(terms, wait)
        except WorkflowAlreadyStartedError:
            known = await self._handle(payment.payment_id).describe(rpc_timeout=PATIENCE)
            return False if (await known.memo()).get("payment") == asdict(payment) else None
        return True

    async def _start_and_wait(self, terms: dict[str, Any], wait: float) -> None:
        operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation("Payment", **terms)
        update = self._client.execute_update_with_start_workflow("decision", start_workflow_operation=operation)
        try:
            await asyncio.wait_for(update, wait)
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            await asyncio.wait_for(operation.workflow_handle(), PATIENCE.total_seconds())
        except WorkflowUpdateFailedError:
            pass  # it ended at that moment, and its state says how

    async def state(self, payment_id: str) -> dict[str, Any]:
        """Return a payment's state, or what lists of workflows say of it (`as_of`) if no worker answers."""
        handle = self._handle(payment_id)
        try:
            return asdict(await handle.query("state", result_type=State, rpc_timeout=PATIENCE))
        except (RPCError, WorkflowQueryFailedError):
            known = await handle.describe(rpc_timeout=PATIENCE)
            return {
                "payment": (await known.memo())["payment"],
                "status": known.typed_search_attributes.get(STATUS),
                "stage": known.typed_search_attributes.get(STAGE),
                "as_of": "the last change of its stage; no worker answers",
            }

    async def try_cancel(self, payment_id: str) -> bool:
        """Cancel a payment. Return False if its outcome is decided.

        Raises:
            TimeoutError: the workflows' worker does not answer.
        """
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                cancelled: bool = await self._handle(payment_id).execute_update("try_cancel", result_type=bool)
                return cancelled
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            raise TimeoutError from None
        except WorkflowUpdateFailedError:
            return False
        except RPCError as error:
            return await self._has_ended(payment_id, error)

    async def signal(self, payment_id: str, signal: str, *arguments: object, to: str = "payment") -> bool:
        """Signal a payment, or its fraud check. Return False if that has ended."""
        handle = self._client.get_workflow_handle(f"{to}-{payment_id}")
        try:
            await handle.signal(signal, args=arguments, rpc_timeout=PATIENCE)
        except RPCError as error:
            return await self._has_ended(payment_id, error)
        return True

    async def _has_ended(self, payment_id: str, error: RPCError) -> Literal[False]:
        """Return False if the error says that a workflow of a known payment has ended; else raise."""
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise error
        await self._handle(payment_id).describe(rpc_timeout=PATIENCE)
        return False

    def _handle(self, payment_id: str) -> WorkflowHandle[Any, Any]:
        return self._client.get_workflow_handle(workflow_id(payment_id))


async def register_search_attributes(client: Client) -> None:
    """Make the payments' search attributes known to the namespace. Repetitions change nothing."""
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    request = AddSearchAttributesRequest(
        namespace=client.namespace, search_attributes={STATUS.name: keyword, STAGE.name: keyword}
    )
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
