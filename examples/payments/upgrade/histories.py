"""`python -m examples.payments.upgrade.histories DIRECTORY`: record payments of version 1, for tests to replay."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from delegator import DelegatorPlugin, connect
from examples.command import run_example
from examples.local import Dispatch
from examples.payments.account.accounts import Account, open_accounts
from examples.payments.client import ApiClient
from examples.payments.contracts import CONTRACTS, Times, workflow_id
from examples.payments.orchestrator.__main__ import DELEGATED
from examples.payments.orchestrator.fraud_check import FraudCheck
from examples.payments.system import running_system

_LARGE = 2_000_000
_WAITING = {"stage": "waiting for the callback"}
_REVIEWED = {"fraud": "review", "callback": "captured"}
_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "success": ({}, {"status": "success"}),
    "rejected": ({}, {"status": "fail"}),
    "review-passed": ({}, _REVIEWED),
    "review-failed": ({}, _REVIEWED),
    "no-callback": ({"silent_share": 1}, _WAITING),
    "cancelled-waiting": ({"silent_share": 1}, _WAITING),
    "cancelled-charging": ({"delay": [3, 3], "silent_share": 1}, {"stage": "charging"}),
    "provider-retried": ({"mode": "error"}, {"attempts": {"charge": 2}}),
    # Longer than a workflow task waits inline, so that the outcome of the charge comes by a signal.
    "completed-by-signal": ({"delay": [2, 2]}, {"stage": "done"}),
}
"""How the provider behaves until the payment has reached a state."""


async def replay(workflow: type, histories: Iterable[WorkflowHistory], dispatch: Dispatch = Dispatch.DELEGATED) -> None:
    """Replay histories of payments and fraud checks on a version of the payment's workflow.

    The dispatch is that with which they ran: it decides which commands an `execute_activity` gives.

    Raises:
        NondeterminismError: this version does something else than a history says.
    """
    plugins = [DelegatorPlugin(CONTRACTS, options=DELEGATED)] if dispatch is Dispatch.DELEGATED else []
    replayer = Replayer(workflows=[workflow, FraudCheck], plugins=plugins)
    for history in histories:
        await replayer.replay_workflow(history)


def read_histories(directory: Path) -> dict[str, WorkflowHistory]:
    """Return the histories of a folder by their names."""
    recorded = {file.stem: json.loads(file.read_text()) for file in sorted(directory.glob("*.json"))}
    return {name: WorkflowHistory.from_json(one["workflow_id"], one["history"]) for name, one in recorded.items()}


async def main(directory: Path) -> None:
    """Let one payment run for each case, and write its history."""
    async with running_system(times=Times(callback_timeout=4)) as system, ApiClient(system.url("api")) as api:
        client = await connect()
        for case, (behaviour, state) in _CASES.items():
            await open_accounts([Account(case, 50 if case == "rejected" else _LARGE)])
            await system.provider(**behaviour)
            _, answer = await api.pay(case, _LARGE if case.startswith("review") else 100, case)
            payment = answer["payment_id"]
            await api.until(payment, **state)
            if case.startswith("review"):
                verdict = {"verdict": "pass" if case == "review-passed" else "fail", "reviewer": "recorder"}
                await api.request("POST", f"/fraud/{payment}", json=verdict)
            elif case.startswith("cancelled"):
                await api.request("POST", f"/payments/{payment}/cancel")
            await system.provider(mode="up", delay=[0, 0], silent_share=0)
            handle = client.get_workflow_handle(workflow_id(payment))
            await handle.result()
            history = await handle.fetch_history()
            recorded = {"workflow_id": history.workflow_id, "history": history.to_json_dict()}
            text = json.dumps(recorded, indent=1, sort_keys=True)  # it is compared line by line
            (directory / f"{case}.json").write_text(f"{text}\n")
            print(f"{case}: {len(history.events)} events")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.payments.upgrade.histories", description=__doc__)
    parser.add_argument("directory", type=Path)
    run_example(main(parser.parse_args().directory))
