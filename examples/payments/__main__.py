"""`python -m examples.payments [--dispatch classic|delegated] [--demo]`: all services, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import uuid
from dataclasses import replace

from examples.command import claim, run_example
from examples.local import Dispatch, add_dispatch
from examples.payments.account.accounts import Account, open_accounts, total_balance
from examples.payments.books import Books
from examples.payments.client import ApiClient
from examples.payments.contracts import Times, payment_id_of
from examples.payments.system import System, running_system

PEOPLE = (
    Account("ann", 100_000, phone="+49 30 1234"),
    Account("bob", 5_000),
    Account("cleo", 3_000_000),
    Account("dan", 50_000),
)


async def main(dispatch: Dispatch, demo: bool) -> None:
    """Run the services, and play the people if asked to."""
    async with running_system(dispatch, Times(callback_timeout=3) if demo else None) as system:
        if demo:
            await _play(system)
            return
        await open_accounts(PEOPLE)
        print(f"pages      {system.url('reporting')}/")
        print(f"API        {system.url('api')}/payments")
        print(f"provider   {system.url('provider')}/ (PUT sets how it behaves)")
        print(f"logs       {system.directory}")
        print("accounts   " + ", ".join(f"{one.user_id} ({one.balance / 100:.2f} EUR)" for one in PEOPLE))
        print("Ctrl-C ends it.", flush=True)
        await asyncio.Event().wait()


async def _play(system: System) -> None:
    """Pay, be refused, be reviewed, and wait for a callback that never comes: all at once, over HTTP."""
    suffix = uuid.uuid4().hex[:6]  # the demonstration can be repeated on the same servers
    people = {one.user_id: replace(one, user_id=f"{one.user_id}-{suffix}") for one in PEOPLE}
    await open_accounts(list(people.values()))
    initial = await total_balance()
    await system.provider(user=people["dan"].user_id, silent_share=1.0)
    ids = {name: payment_id_of(one.user_id, "demo") for name, one in people.items()}
    async with ApiClient(system.url("api")) as api:
        for name, amount in (("ann", 2_500), ("bob", 9_900), ("cleo", 2_000_000), ("dan", 700)):
            status, answer = await api.pay(people[name].user_id, amount, "demo", wait=10)
            print(f"{name} asks to pay {amount / 100:.2f} EUR: {status} {answer['status']}")
        await api.until(ids["cleo"], fraud="review")
        await api.request("POST", f"/fraud/{ids['cleo']}", json={"verdict": "pass", "reviewer": "a person"})
        states = {name: await api.done(payment) for name, payment in ids.items()}
    for name, state in states.items():
        why = f", {state['reason']}" if state["reason"] else ""
        undone = f"; undone: {', '.join(state['compensated'])}" if state["compensated"] else ""
        print(f"{name}: {state['status']}{why}{undone}")
    outcomes = {name: state["status"] for name, state in states.items()}
    expected = {"ann": "success", "bob": "fail", "cleo": "success", "dan": "fail"}
    claim(outcomes == expected, "two payments succeed, after a person's review one of them; two fail")
    books = await Books.read(system.provider_ledger)
    problems = books.problems({ids[name]: state for name, state in states.items()}, initial)
    claim(not problems, problems[0] if problems else "ledger, provider and mailbox agree; no cent is lost")
    claim(all(books.copies[payment] == 1 for payment in ids.values()), "each user got one mail")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.payments", description=__doc__)
    add_dispatch(parser)
    parser.add_argument("--demo", action="store_true", help="play some payments over HTTP, check the books, and end")
    arguments = parser.parse_args()
    run_example(main(arguments.dispatch, arguments.demo))
