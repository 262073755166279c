"""`python -m examples.payments.upgrade`: payments that began on version 1 end on version 2, as they began."""

from __future__ import annotations

import argparse
import uuid

from delegator import connect
from examples.command import claim, run_example
from examples.local import Dispatch, add_dispatch
from examples.payments.account.accounts import Account, open_accounts
from examples.payments.client import ApiClient
from examples.payments.contracts import workflow_id
from examples.payments.system import running_system
from examples.payments.upgrade import v2
from examples.payments.upgrade.histories import replay

_COUNT = 3


async def main(dispatch: Dispatch) -> None:
    """Start payments on version 1, replace the worker, and let all of them end."""
    async with running_system(dispatch) as system, ApiClient(system.url("api")) as api:
        user = f"eve-{uuid.uuid4().hex[:6]}"
        await open_accounts([Account(user, 10_000, daily_limit=500)])
        await system.provider(user=user, callback_after=3_600)
        old = [await _begun(api, user, f"old-{number}") for number in range(_COUNT)]
        print(f"version 1: {_COUNT} payments wait for their callbacks")
        await system.programs["worker"].stop()
        system.environment["PAYMENTS_VERSION"] = v2.__name__
        await system.programs["worker"].start()
        print("version 2 has taken over")
        new = await _begun(api, user, "new-0")
        _, refused = await api.pay(user, 200, "new-1", wait=10)
        for payment in (*old, new):
            await system.call_back(payment)
        payments = [*old, new, refused["payment_id"]]
        states = [await api.done(payment) for payment in payments]
        outcomes = [state["status"] for state in states]
        claim(outcomes == ["success"] * (_COUNT + 1) + ["fail"], "payments of both versions ended")
        client = await connect(lazy=True)
        histories = [await client.get_workflow_handle(workflow_id(one)).fetch_history() for one in payments]
        has_limit = ["check_daily_limit" in str(history.events) for history in histories]
        claim(has_limit == [False] * _COUNT + [True, True], "only the new ones have the check of the daily limit")
        claim("limit" in states[-1]["reason"], "the limit refuses a payment that exceeds it")
        await replay(v2.PaymentWorkflow, histories, dispatch)
        claim(True, "all histories replay on version 2")


async def _begun(api: ApiClient, user: str, key: str) -> str:
    _, answer = await api.pay(user, 100, key)
    await api.until(answer["payment_id"], stage="waiting for the callback", fraud="pass")
    payment: str = answer["payment_id"]
    return payment


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.payments.upgrade", description=__doc__)
    add_dispatch(parser)
    run_example(main(parser.parse_args().dispatch))
