"""What the API asks of Temporal. Workflows are named by strings, so that the API needs no workflow code."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
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

from examples.payments.contracts import STAGE, STATUS, TASK_QUEUE, Payment, State, Times

PATIENCE: Final = timedelta(seconds=float(os.environ.get("PAYMENTS_PATIENCE", "3")))
"""For one call of Temporal. A query takes this long when no worker answers."""


class NoSuchPayment(Exception):
    """Temporal does not know the payment."""


class Payments:
    """The payments' workflows."""

    def __init__(self, client: Client, times: Times) -> None:
        """Use a client.

        Args:
            client: it may be lazy.
            times: of new payments.
        """
        self._client = client
        self._times = times

    async def start(self, payment: Payment, wait: float | None) -> bool | None:
        """Start a payment.

        Args:
            payment: what to do.
            wait: how many seconds to wait for the decision; None: do not wait.

        Returns:
            True: it is new; False: the same one was asked for before; None: another one was, with the same key.

        Raises:
            RPCError: Temporal does not answer.
        """
        terms: dict[str, Any] = {
            "args": [payment, self._times],
            "id": workflow_id(payment.payment_id),
            "task_queue": TASK_QUEUE,
            "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
            "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
            "memo": {"payment": asdict(payment)},
            "search_attributes": TypedSearchAttributes(
                [SearchAttributePair(STATUS, "pending"), SearchAttributePair(STAGE, "validating")]
            ),
        }
        try:
            if wait is None:
                await self._client.start_workflow("Payment", **terms, rpc_timeout=PATIENCE)
            else:
                await self._start_and_wait(terms, wait)
        except WorkflowAlreadyStartedError:
            known = await self.describe(payment.payment_id)
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
        """Return a payment's state, or what lists of workflows say of it (`as_of`) if no worker answers.

        Raises:
            NoSuchPayment: there is none.
            RPCError: Temporal does not answer.
        """
        try:
            state = await self._handle(payment_id).query("state", result_type=State, rpc_timeout=PATIENCE)
        except (RPCError, WorkflowQueryFailedError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                raise NoSuchPayment from None
            known = await self.describe(payment_id)
            attributes = known.typed_search_attributes
            return {
                "payment": (await known.memo())["payment"],
                "status": attributes.get(STATUS),
                "stage": attributes.get(STAGE),
                "as_of": "the last change of its stage; no worker answers",
            }
        return asdict(state)

    async def try_cancel(self, payment_id: str) -> bool:
        """Cancel a payment. Return False if its outcome is decided.

        Raises:
            NoSuchPayment: there is none.
            RPCError: Temporal or the workflows' worker does not answer.
        """
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                cancelled: bool = await self._handle(payment_id).execute_update("try_cancel", result_type=bool)
                return cancelled
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            raise RPCError("no worker answers", RPCStatusCode.UNAVAILABLE, b"") from None
        except WorkflowUpdateFailedError:
            return False
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await self.describe(payment_id)
            return False

    async def signal(self, payment_id: str, signal: str, *arguments: object, to: str = "payment") -> bool:
        """Signal a payment, or its fraud check. Return False if that has ended.

        Raises:
            NoSuchPayment: there is no such payment.
            RPCError: Temporal does not answer.
        """
        handle = self._client.get_workflow_handle(f"{to}-{payment_id}")
        try:
            await handle.signal(signal, args=arguments, rpc_timeout=PATIENCE)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await self.describe(payment_id)
            return False
        return True

    async def describe(self, payment_id: str) -> WorkflowExecutionDescription:
        """Return what Temporal knows of a payment's workflow.

        Raises:
            NoSuchPayment: nothing.
            RPCError: Temporal does not answer.
        """
        try:
            return await self._handle(payment_id).describe(rpc_timeout=PATIENCE)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise NoSuchPayment from None
            raise

    def _handle(self, payment_id: str) -> WorkflowHandle[Any, Any]:
        return self._client.get_workflow_handle(workflow_id(payment_id))


def workflow_id(payment_id: str) -> str:
    """Return the workflow of a payment."""
    return f"payment-{payment_id}"


def times_from(text: str) -> Times:
    """Return the waits that a setting describes, as a JSON object with the names of `Times`."""
    return Times(**json.loads(text))


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
