"""Replays recorded histories on a version of the workflow: what it would do differently is an error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from delegator import DelegatorPlugin
from examples.payments.contracts import CONTRACTS
from examples.payments.orchestrator.__main__ import plugin_options
from examples.payments.orchestrator.fraud_check import FraudCheck


async def replay(workflow: type, histories: Iterable[WorkflowHistory]) -> None:
    """Replay histories.

    Args:
        workflow: the version of the payment's workflow.
        histories: of payments and fraud checks.

    Raises:
        NondeterminismError: this version does something else than a history says.
    """
    plugin = DelegatorPlugin(CONTRACTS, options=plugin_options())
    replayer = Replayer(workflows=[workflow, FraudCheck], plugins=[plugin])
    for history in histories:
        await replayer.replay_workflow(history)


def read_histories(directory: Path) -> dict[str, WorkflowHistory]:
    """Return the histories of a folder by their names."""
    found = {}
    for file in sorted(directory.glob("*.json")):
        recorded: dict[str, Any] = json.loads(file.read_text())
        found[file.stem] = WorkflowHistory.from_json(recorded["workflow_id"], recorded["history"])
    return found


def write_history(file: Path, history: WorkflowHistory) -> None:
    """Write a history, in a form that is compared line by line."""
    recorded = {"workflow_id": history.workflow_id, "history": history.to_json_dict()}
    file.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
