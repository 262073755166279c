"""`python -m examples.subscription`: query, signal, query, update, cancel, result."""

from __future__ import annotations

import uuid

from temporalio.client import WorkflowUpdateFailedError

from examples.command import claim, run_example, until
from examples.local import Pool, local_system
from examples.subscription import tasks
from examples.subscription.workflow import Subscription


async def main() -> None:
    """Play a subscriber who changes the card twice and then leaves."""
    async with local_system(Pool([tasks]), workflows={"subscription": [Subscription]}) as system:
        name = f"subscription-{uuid.uuid4()}"
        handle = await system.client.start_workflow(Subscription.run, id=name, task_queue="subscription")
        print(f"query:  {(await handle.query(Subscription.status)).state}")
        await handle.signal(Subscription.billing_changed, "4242424242424242")

        async def is_updated() -> bool:
            return (await handle.query(Subscription.status)).state == "updated"

        await until("the new card is checked", is_updated)
        print("signal: updated")
        try:
            await handle.execute_update(Subscription.change_billing, "4242424242424241")
        except WorkflowUpdateFailedError as refused:
            print(f"update: refused, {refused.cause}")
        await handle.signal(Subscription.cancel)
        result = await handle.result()
        print(f"cancel: {result.state}")
        claim(result.card == "4242424242424242", "the last valid card stays")
        claim(await handle.query(Subscription.status) == result, "the query answers after the end, too")


if __name__ == "__main__":
    run_example(main())
