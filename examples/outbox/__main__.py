"""`python -m examples.outbox`: users are deleted by plain SQL, and the workers are killed while they clean up."""

from __future__ import annotations

import asyncio
import mailbox
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP
from temporalio.worker import Worker

from examples.command import claim, run_example, until
from examples.database import connection, create_tables, fetch_value
from examples.local import Pool, System, local_system
from examples.outbox import tasks
from examples.outbox.workflow import DeleteUser

SCHEMA = Path(__file__).with_name("schema.sql")
FILES = 300
"""Files of each user."""


async def main() -> None:
    """Delete three of five users, and one more whose deletion is rolled back."""
    async with local_system() as system:
        await create_tables(SCHEMA)
        store, mails = system.directory / "store", system.directory / "mails"
        async with mail_server(mails) as address:
            # A dead process keeps its jobs for 15 seconds unless set. Nobody wants to watch that.
            environment = {tasks.STORE: str(store), tasks.SMTP: address, "DELEGATOR_LEASE": "1s"}
            await system.start_pool(Pool([tasks], environment=environment))
            async with Worker(system.client, task_queue="outbox", workflows=[DeleteUser]):
                await delete_users(system, store, mails)


async def delete_users(system: System, store: Path, mails: Path) -> None:
    """Delete users, kill the workers in mid-work, and check what is left."""
    run = uuid.uuid4().hex[:8]
    users = [f"{name}-{run}" for name in ("ada", "bob", "cem", "dot", "eve")]
    async with connection() as opened, opened.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO outbox_shop.users VALUES (%s, %s)", [(user, f"{user}@example.com") for user in users]
        )
        for user in users:
            fill(store / user)
        gone, kept = users[:3], users[3:]
        async with opened.transaction(force_rollback=True):
            await opened.execute("DELETE FROM outbox_shop.users WHERE id = %s", (kept[0],))
        await opened.execute("DELETE FROM outbox_shop.users WHERE id = ANY (%s)", (gone,))
    print(f"deleted {', '.join(gone)}; the deletion of {kept[0]} was rolled back")
    first = store / gone[0]
    await until("the first files are gone", lambda: asyncio.to_thread(has_fewer_files, first))
    await system.pools["default"].kill()
    print("killed the workers, and started new ones")
    await system.pools["default"].start()
    for user in gone:
        await until(f"{user} has got a mail", partial(has_mail, mails, user))
        await system.client.get_workflow_handle(f"delete-user-{user}").result()
    claim(not any((store / user).exists() for user in gone), "no file of a deleted user is left")
    claim(all(len(list((store / user).iterdir())) == FILES for user in kept), "every file of the others is there")
    sent = mails_by_user(mails)
    claim(sent == Counter({f"{user}@example.com": 1 for user in gone}), "each deleted user got one mail, others none")
    waits = await fetch_value("SELECT count(*) FROM custom_task_outbox WHERE workflow_id LIKE %s", f"%{run}")
    claim(waits == 0, "nothing waits in the outbox")


def fill(prefix: Path) -> None:
    """Give a user files."""
    prefix.mkdir(parents=True)
    for number in range(FILES):
        (prefix / f"{number:03}.txt").write_text("private")


def has_fewer_files(prefix: Path) -> bool:
    """Return whether the cleaning has begun."""
    return not prefix.exists() or len(list(prefix.iterdir())) < FILES


async def has_mail(mails: Path, user: str) -> bool:
    """Return whether a user has got a mail."""
    return mails_by_user(mails)[f"{user}@example.com"] > 0


def mails_by_user(mails: Path) -> Counter[str]:
    """Count mails by recipient. A mail with an id that has come before is the same mail."""
    sent = {(str(mail["Message-ID"]), str(mail["To"])) for mail in mailbox.Maildir(mails)}
    return Counter(to for _, to in sent)


@asynccontextmanager
async def mail_server(mails: Path) -> AsyncIterator[str]:
    """Run a mail server that keeps mails in a folder. It yields its address."""
    keeper = Mailbox(mails)
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(keeper), "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


if __name__ == "__main__":
    run_example(main())
