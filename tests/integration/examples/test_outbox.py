from __future__ import annotations

import re
import uuid
from collections import Counter
from pathlib import Path

from temporalio.worker import Worker

from delegator.dev import RunningStack
from examples.database import connection, create_tables
from examples.local import Pool, local_system
from examples.outbox import tasks
from examples.outbox.__main__ import SCHEMA, mail_server, mails_by_user
from examples.outbox.workflow import DeleteUser


async def test_command(run_command, servers: RunningStack) -> None:
    """The command deletes users, kills the workers, and proves what is left."""
    code, output, errors = await run_command("outbox")
    assert (code, errors) == (0, "")
    first, killed, *proven = output.splitlines()
    assert re.fullmatch(r"deleted ada-\w+, bob-\w+, cem-\w+; the deletion of dot-\w+ was rolled back", first)
    assert killed == "killed the workers, and started new ones"
    assert proven == [
        "proven: no file of a deleted user is left",
        "proven: every file of the others is there",
        "proven: each deleted user got one mail, others none",
        "proven: nothing waits in the outbox",
    ]


async def test_away(servers: RunningStack, tmp_path: Path) -> None:
    """Users are deleted while no worker of any kind runs, one of them in a savepoint that is rolled back."""
    await create_tables(SCHEMA)
    run = uuid.uuid4().hex[:8]
    users = [f"{name}-{run}" for name in ("one", "two", "undone")]
    for user in users:
        (tmp_path / user).mkdir()
        (tmp_path / user / "file").write_text("private")
    async with connection() as opened, opened.transaction():
        for user in users:
            await opened.execute("INSERT INTO outbox_shop.users VALUES (%s, %s)", (user, f"{user}@example.com"))
        await opened.execute("DELETE FROM outbox_shop.users WHERE id = ANY (%s)", (users[:2],))
        async with opened.transaction(force_rollback=True):
            await opened.execute("DELETE FROM outbox_shop.users WHERE id = %s", (users[2],))
    async with mail_server(tmp_path / "mails") as address:
        environment = {tasks.STORE: str(tmp_path), tasks.SMTP: address}
        async with (
            local_system(Pool([tasks], environment=environment)) as system,
            Worker(system.client, task_queue="outbox", workflows=[DeleteUser]),
        ):
            for user in users[:2]:
                await system.client.get_workflow_handle(f"delete-user-{user}").result()
    assert [(tmp_path / user).exists() for user in users] == [False, False, True]
    assert mails_by_user(tmp_path / "mails") == Counter(f"{user}@example.com" for user in users[:2])
