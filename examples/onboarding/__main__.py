"""`python -m examples.onboarding [--demo]`: import users from a CSV file, and have a second person approve them.

Without --demo it prints the address of its pages and stays until Ctrl-C. With it, it plays two people over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from aiohttp import ClientSession
from temporalio.worker import Worker

from examples import outgoing
from examples.command import claim, run_example, until
from examples.database import create_tables, fetch_value
from examples.local import Pool, Service, System, local_system
from examples.onboarding import tasks
from examples.onboarding.contracts import Terms
from examples.onboarding.people import Login, add_person
from examples.onboarding.service import TASK_QUEUE, TERMS
from examples.onboarding.workflow import Approval, ImportUsers

SCHEMA = Path(__file__).with_name("schema.sql")


class Running(NamedTuple):
    """A service with its people: two makers and two checkers."""

    system: System
    url: str
    task_queue: str
    people: dict[str, Login]
    """By role and number: maker1, maker2, checker1, checker2."""


@asynccontextmanager
async def running_service(terms: Terms) -> AsyncIterator[Running]:
    """Run the pool, the Temporal worker, the mail server and the service."""
    run = uuid.uuid4().hex[:6]
    mailbox = Service("examples.mailbox", outgoing.SMTP_PORT)
    async with local_system(Pool([tasks]), services=[mailbox]) as system:
        await create_tables(SCHEMA)
        await create_tables(outgoing.SCHEMA)
        variables = {TASK_QUEUE: f"onboarding-{run}", TERMS: json.dumps(asdict(terms))}
        command = ("-m", "examples.onboarding.service", "--port", "{port}")
        service = system.services["service"] = await system.start("service", *command, environment=variables)
        people: dict[str, Login] = {}
        for role in ("maker", "checker"):
            for number in (1, 2):
                people[f"{role}{number}"] = Login(f"{role}{number}-{run}", secrets.token_urlsafe(9))
                await add_person(role, people[f"{role}{number}"])
        workflows = [ImportUsers, Approval]
        async with Worker(system.client, task_queue=variables[TASK_QUEUE], workflows=workflows):
            yield Running(system, service.url, variables[TASK_QUEUE], people)


async def main(demo: bool) -> None:
    """Run until Ctrl-C, or play."""
    async with running_service(Terms()) as running:
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
    file = (
        f"name;born;city\nAda {run};1985-12-10;London\nBo {run};29.2.2000;Oslo\nCy {run};1990-01-01;Rome\nD;never;X\n"
    )
    maker, checker = running.people["maker1"].headers, running.people["checker1"].headers
    async with ClientSession(running.url) as session:
        async with session.post("/imports", data=file.encode(), headers=maker) as answer:
            import_id = (await answer.json())["id"]

        async def is_waiting() -> bool:
            state = await fetch_value("SELECT state FROM onboarding.imports WHERE id = %s", import_id)
            return state == "waiting"

        await until("the import waits for its maker, because a quarter of its rows is bad", is_waiting)
        async with session.get(f"/imports/{import_id}/problems.csv", headers=maker) as answer:
            print((await answer.text()).splitlines()[1])
        async with session.post(f"/imports/{import_id}/answer", data={"answer": "accept"}, headers=maker):
            print("the maker takes the good rows")
        ids = "SELECT array_agg(id ORDER BY line) FROM onboarding.users WHERE import_id = %s"
        await until("there are users", lambda: _has_users(import_id))
        users = await fetch_value(ids, import_id)
        assert isinstance(users, list)
        approved = "\n".join(str(user) for user in users[:2])
        async with session.post("/users", data=approved, headers=maker) as answer:
            claim(answer.status == 403, "who imported users can't approve them")
        async with session.post("/users", data=approved, headers=checker) as answer:
            print((await answer.json())["decided"][0])
        async with session.post("/users?verdict=rejected", data=str(users[2]), headers=checker) as answer:
            print((await answer.json())["decided"][0])
        handle = running.system.client.get_workflow_handle(f"approval-{import_id}")
        claim(await handle.result() == "decided", "the workflow has ended, as somebody has decided about all users")
        statuses = "SELECT array_agg(status ORDER BY line) FROM onboarding.users WHERE import_id = %s"
        found = await fetch_value(statuses, import_id)
        claim(found == ["approved", "approved", "rejected"], "each user has the status that a checker has chosen")


async def _has_users(import_id: str) -> bool:
    return await fetch_value("SELECT state FROM onboarding.imports WHERE id = %s", import_id) == "done"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.onboarding", description=__doc__)
    parser.add_argument("--demo", action="store_true", help="play two people over HTTP, and end")
    run_example(main(parser.parse_args().demo))
