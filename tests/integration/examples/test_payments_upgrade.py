"""Recorded payments of version 1 on later versions. No server is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.workflow import NondeterminismError

from examples.payments import contracts
from examples.payments.contracts import ACCOUNT, GATEWAY, Payment, State, Times
from examples.payments.orchestrator.workflow import PaymentFlow, PaymentWorkflow
from examples.payments.upgrade import v2, v3
from examples.payments.upgrade.histories import read_histories, replay

HISTORIES = read_histories(Path(__file__).with_name("payment_histories"))
TAKING_MONEY = [name for name in HISTORIES if name != "rejected"]


@workflow.defn(name="Payment")
class Unpatched(PaymentFlow):
    """Version 2 without `workflow.patched`."""

    @workflow.run
    async def run(self, payment: Payment, times: Times) -> State:
        return await self.pay()

    async def admit(self) -> None:
        await self._step(contracts.check_daily_limit, ACCOUNT)


@workflow.defn(name="Payment")
class Swapped(PaymentFlow):
    """The charge comes before the debit."""

    @workflow.run
    async def run(self, payment: Payment, times: Times) -> State:
        return await self.pay()

    async def _take_money(self) -> None:
        await self._step(contracts.charge, GATEWAY)
        await self._step(contracts.debit, ACCOUNT)


def test_recorded() -> None:
    """There is a history of each kind, some with jobs that were completed by signal, some with inline ones only."""
    assert len(HISTORIES) >= 8
    assert {"success", "rejected", "no-callback", "provider-retried"} <= HISTORIES.keys()
    signals = {name: outcome_signals(history) for name, history in HISTORIES.items()}
    assert signals["completed-by-signal"] > 0
    assert signals["success"] < len(list_markers(HISTORIES["success"]))


def outcome_signals(history: WorkflowHistory) -> int:
    names = [event.workflow_execution_signaled_event_attributes.signal_name for event in history.events]
    return names.count("delegator.outcomes")


def list_markers(history: WorkflowHistory) -> list[object]:
    return [event for event in history.events if event.HasField("marker_recorded_event_attributes")]


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize("version", [PaymentWorkflow, v2.PaymentWorkflow], ids=["v1", "v2"])
async def test_replay(version: type, name: str) -> None:
    """Payments of version 1 go on as they began on versions 1 and 2 (BR-10, FR-10)."""
    await replay(version, [HISTORIES[name]])


@pytest.mark.parametrize("name", TAKING_MONEY)
@pytest.mark.parametrize("version", [Unpatched, Swapped, v3.PaymentWorkflow], ids=["unpatched", "swapped", "v3"])
async def test_replay_differs(version: type, name: str) -> None:
    """The same change without a patch, debit and charge swapped, and a version that came too early are found."""
    with pytest.raises(NondeterminismError):
        await replay(version, [HISTORIES[name]])
