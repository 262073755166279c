"""Lists a page at a time: each job once, in order, whatever the filter, and never more rows than the bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest

from delegator.operating import paging
from delegator.operating.paging import JobPage, job_page, letter_page
from delegator.operating.states import State
from delegator.postgres.connections import Connection, connect
from delegator.postgres.dead_letters import Selection
from delegator.postgres.job_views import JobSelection
from tests.support import Database, Databases

ROWS = 250


async def fill(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        for table in ("custom_task_queue", "custom_task_queue_mails"):
            # Several rows have the same time.
            await connection.execute(
                f"INSERT INTO {table} (job_id, job_type, workflow_id, published_at)"
                f" SELECT '{table}' || n, CASE WHEN n % 50 = 7 THEN 'rare' ELSE 'often' END, 'wf' || n / 10,"
                f" now() - n / 5 * interval '1 second' FROM generate_series(1, {ROWS}) AS n".encode()
            )
        await connection.execute(
            b"INSERT INTO custom_task_dead_letter"
            b" (queue, reason, error, job_id, job_type, attempt, enqueued_at, died_at)"
            b" SELECT 'default', 'locked', CASE WHEN n % 50 = 7 THEN 'Rare' ELSE 'Often' END, 'd' || n, 't', 1, now(),"
            b" now() - n / 5 * interval '1 second' FROM generate_series(1, 250) AS n"
        )


async def pages(connection: Connection, queues: Sequence[str], selection: JobSelection, size: int) -> list[JobPage]:
    found = [await job_page(connection, queues, selection, size)]
    while (following := found[-1].following) is not None:
        found.append(await job_page(connection, queues, replace(selection, after=following), size))
    return found


async def test_pages(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of two queues hold each job once and in order; of rare ones, too, over pages that hold none."""
    monkeypatch.setattr(paging, "MOST_LOOKED_AT", 40)
    async with databases.fresh(queues=("default", "mails")) as database:
        await fill(database)
        async with await connect(database.url, application_name="test") as connection:
            queues = database.settings.queues
            for selection, count in (
                (JobSelection(), 2 * ROWS),
                (JobSelection(job_type="rare"), 10),
                (JobSelection(states=(State.WAITING,)), 2 * ROWS),
                (JobSelection(states=(State.RUNNING,)), 0),
                (JobSelection(workflow_id="wf7"), 20),
            ):
                found = await pages(connection, queues, selection, 33)
                places = [(one.job.published_at, one.job.job_id) for page in found for one in page.jobs]
                assert len(places) == len(set(places)) == count
                assert places == sorted(places)
                assert all(len(page.jobs) <= 33 for page in found)
            first = await letter_page(connection, Selection(), 33)
            assert [letter.job_id for letter in first.letters][:4] == ["d4", "d3", "d2", "d1"]
            rare, before = [], None
            while True:
                page = await letter_page(connection, Selection(error="Rare", before=before), 33)
                rare += [letter.job_id for letter in page.letters]
                before = page.following
                if before is None:
                    break
            assert rare == ["d7", "d57", "d107", "d157", "d207"]
