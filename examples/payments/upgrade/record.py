"""`python -m examples.payments.upgrade.record DIRECTORY`: record histories of version 1, for tests that replay them."""

from __future__ import annotations

import argparse
from pathlib import Path

from temporalio.client import Client

from delegator import connect
from examples.command import run_example
from examples.payments.account.accounts import Account, open_accounts
from examples.payments.client import ApiClient, id_of
from examples.payments.contracts import Times
from examples.payments.orchestrator.temporal import workflow_id
from examples.payments.system import System, running_system
from examples.payments.upgrade.replay import write_history

_LARGE = 2_000_000


async def main(directory: Path) -> None:
    """Let one payment run for each case, and write its history."""
    async with running_system(times=Times(callback_timeout=4)) as system, ApiClient(system.url("api")) as api:
        client = await connect()
        for case in ("success", "rejected", "review-passed", "review-failed", "no-callback"):
            await _record(client, directory, case, await _plain(system, api, case))
        for case, stage in (("cancelled-waiting", "waiting for the callback"), ("cancelled-charging", "charging")):
            await _record(client, directory, case, await _cancelled(system, api, case, stage))
        await _record(client, directory, "provider-retried", await _retried(system, api))
        await _record(client, directory, "completed-by-signal", await _slow(system, api))


async def _begun(api: ApiClient, case: str, amount: int = 100) -> str:
    await open_accounts([Account(case, 50 if case == "rejected" else _LARGE)])
    await api.pay(case, amount, case)
    return id_of(case, case)


async def _plain(system: System, api: ApiClient, case: str) -> str:
    if case == "no-callback":
        await system.provider(user=case, silent_share=1)
    payment = await _begun(api, case, _LARGE if case.startswith("review") else 100)
    if case.startswith("review"):
        await api.until(payment, fraud="review", callback="captured")
        verdict = "pass" if case == "review-passed" else "fail"
        await api.request("POST", f"/fraud/{payment}", json={"verdict": verdict, "reviewer": "recorder"})
    return payment


async def _cancelled(system: System, api: ApiClient, case: str, stage: str) -> str:
    await system.provider(user=case, silent_share=1)
    if stage == "charging":
        await system.provider(delay=[3, 3])
    payment = await _begun(api, case)
    await api.until(payment, stage=stage)
    await api.request("POST", f"/payments/{payment}/cancel")
    await system.provider(delay=[0, 0])
    return payment


async def _retried(system: System, api: ApiClient) -> str:
    await system.provider(mode="error")
    payment = await _begun(api, "provider-retried")
    await api.until(payment, attempts={"charge": 2})
    await system.provider(mode="up")
    return payment


async def _slow(system: System, api: ApiClient) -> str:
    """Let the charge take longer than a workflow task waits inline, so that its outcome comes by a signal."""
    await system.provider(delay=[2, 2])
    payment = await _begun(api, "completed-by-signal")
    await api.done(payment)
    await system.provider(delay=[0, 0])
    return payment


async def _record(client: Client, directory: Path, case: str, payment: str) -> None:
    handle = client.get_workflow_handle(workflow_id(payment))
    await handle.result()
    history = await handle.fetch_history()
    write_history(directory / f"{case}.json", history)
    print(f"{case}: {len(history.events)} events")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.payments.upgrade.record", description=__doc__)
    parser.add_argument("directory", type=Path)
    run_example(main(parser.parse_args().directory))
