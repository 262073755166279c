"""`python -m examples.onboarding [--demo] [--dispatch classic]`: import users, and have a second person approve them.

Without --demo it prints the address of its pages and stays until Ctrl-C. With it, it plays two people over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple, cast

from aiohttp import ClientSession

from examples import logins
from examples.command import claim, run_example, until
from examples.database import create_tables, fetch_value
from examples.local import MAILBOX, Dispatch, Pool, System, add_dispatch, local_system
from examples.logins import Login
from examples.onboarding import tasks
from examples.onboarding.contracts import FOLDER
from examples.onboarding.service import TASK_QUEUE
from examples.onboarding.workflow import Approval, ImportUsers

POOL = Pool([tasks])


class Running(NamedTuple):
    """A service with its people: two makers and two checkers."""

    system: System
    url: str
    task_queue: str
    people: dict[str, Login]
    """By role and number: `maker1` and so on."""


@asynccontextmanager
async def running_service(dispatch: Dispatch = Dispatch.DELEGATED) -> AsyncIterator[Running]:
    """Run the pool, the Temporal worker, the mail server and the service."""
    run, people = uuid.uuid4().hex[:6], dict[str, Login]()
    workflows = {f"onboarding-{run}": [ImportUsers, Approval]}
    async with local_system(
        POOL, dispatch=dispatch, intercept=True, services=[MAILBOX], workflows=workflows, start_pools=False
    ) as system:
        await create_tables(logins.SCHEMA)
        for name in ("maker1", "maker2", "checker1", "checker2"):
            people[name] = Login(f"{name}-{run}", secrets.token_urlsafe(9))
            await logins.add_person(name.rstrip("12"), people[name])
        folder = {FOLDER: str(system.directory)}
        await system.start_pool(replace(POOL, environment=folder))
        variables = {**folder, TASK_QUEUE: f"onboarding-{run}", logins.SECRET: secrets.token_urlsafe()}
        command = ("-m", "examples.onboarding.service", "--port", "{port}")
        service = system.services["service"] = await system.start("service", *command, environment=variables)
        yield Running(system, service.url, f"onboarding-{run}", people)


async def main(dispatch: Dispatch, demo: bool) -> None:
    """Run until Ctrl-C, or play."""
    async with running_service(dispatch) as running:
        if demo:
            await play(running)
            return
        print(running.url)
        for name, person in running.people.items():
            print(f"{name}: log in as {person.login} with {person.password}")
        await asyncio.Event().wait()


async def play(running: Running) -> None:
    """Import three users and a bad row, approve two of them, and reject the third."""
    run = uuid.uuid4().hex[:8]
    users = (f"Ada {run};1985-12-10;London", f"Bo {run};29.2.2000;Oslo", f"Cy {run};1990-01-01;Rome", "D;never;X")
    maker, checker = running.people["maker1"].headers, running.people["checker1"].headers
    async with ClientSession(running.url) as session:
        async with session.post("/imports", data="\n".join(("name;born;city", *users)), headers=maker) as answer:
            import_id = (await answer.json())["id"]

        async def has_reached(state: str) -> bool:
            return await fetch_value("SELECT state FROM onboarding.imports WHERE id = %s", import_id) == state

        await until("the import waits, because a quarter of its rows is bad", lambda: has_reached("waiting"))
        async with session.get(f"/imports/{import_id}/problems.csv", headers=maker) as answer:
            print((await answer.text()).splitlines()[1])
        async with session.post(f"/imports/{import_id}/answer", data={"answer": "accept"}, headers=maker):
            print("the maker takes the good rows")
        await until("there are users", lambda: has_reached("done"))
        ids = "SELECT array_agg(id::text ORDER BY line) FROM onboarding.users WHERE import_id = %s"
        *approved, rejected = cast("list[str]", await fetch_value(ids, import_id))
        async with session.post("/users", data="\n".join(approved), headers=maker) as answer:
            claim(answer.status == 403, "who imported users can't approve them")
        for verdict, some in (("approved", approved), ("rejected", [rejected])):
            async with session.post(f"/users?verdict={verdict}", data="\n".join(some), headers=checker) as answer:
                print((await answer.json())["decided"][0])
        handle = running.system.client.get_workflow_handle(f"approval-{import_id}")
        claim(await handle.result() == "decided", "the workflow has ended, as somebody has decided about all users")
        statuses = "SELECT array_agg(status ORDER BY line) FROM onboarding.users WHERE import_id = %s"
        expected = ["approved", "approved", "rejected"]
        claim(await fetch_value(statuses, import_id) == expected, "each user has the status that a checker has chosen")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.onboarding", description=__doc__)
    add_dispatch(parser)
    parser.add_argument("--demo", action="store_true", help="play two people over HTTP, and end")
    arguments = parser.parse_args()
    run_example(main(arguments.dispatch, arguments.demo))
