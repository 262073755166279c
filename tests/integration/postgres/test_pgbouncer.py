"""Through a real PgBouncer: what works, and what is refused with the name of the setting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import quote, urlsplit

import pytest

from delegator.config import Settings
from delegator.enqueue.inline import InlineWaiter
from delegator.errors import ConfigurationError
from delegator.maintenance.service import ServeOptions, serve
from delegator.migrate import inspect, migrate
from delegator.postgres.connections import DatabaseAddress, connect, connection_pool
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.relay import running_relay
from delegator.relay.options import RelayOptions
from tests.integration.postgres import database as steps
from tests.integration.postgres.database import TABLE
from tests.integration.postgres.test_sessions import set_all
from tests.support import Database
from tests.support.pgbouncer import running_pgbouncer

pytestmark = pytest.mark.pgbouncer
NEEDS_DIRECT = "needs a session of its own: set DELEGATOR_DIRECT_DATABASE_URL"


@asynccontextmanager
async def pooled(database: Database, mode: str = "transaction", size: int = 3) -> AsyncIterator[str]:
    """Lend the URL of a PgBouncer in front of a database."""
    parts = urlsplit(database.url)
    user, password = str(parts.username), str(parts.password)
    # It answers from its own event loop, so nothing here waits for it.
    with running_pgbouncer(database.url, {user: password}, mode=mode, size=size) as address:
        yield f"postgresql://{quote(user)}:{quote(password)}@{address}{parts.path}"


@pytest.mark.parametrize("size", [1, 3])
async def test_transaction_mode(database: Database, size: int) -> None:
    """Statements of many clients share few sessions, again and again, and leave nothing behind in them."""
    async with pooled(database, size=size) as url:
        async with (
            connection_pool(url, application_name="test", size=4, by_key=True) as pool,
            LeaseKeeper(url, "enqueuer", duration=timedelta(minutes=1)) as lease,
            InlineWaiter(pool, url, lease, result_ttl_seconds=1) as waiter,
        ):

            async def job(number: int) -> None:
                name = f"j{number}"
                async with pool.connection() as db:
                    await steps.insert(db, [name], lease.lease_id)
                waiting = asyncio.create_task(waiter.wait(TABLE, [name], 60))
                async with pool.connection() as db:
                    (claim,), _ = await TABLE.claim(db, [(name, 0)], lease.lease_id)
                    await steps.store_outcomes(db, {name: claim.fencing_token})
                assert [found.job_id for found in await waiting] == [name]

            for round_ in range(3):
                async with asyncio.TaskGroup() as tasks:
                    for number in range(8):
                        tasks.create_task(job(round_ * 8 + number))
            assert not waiter.listening
            async with pool.connection() as db:
                shown = "SELECT current_setting('enable_seqscan'), count(*) FROM pg_prepared_statements"
                assert await (await db.execute(shown)).fetchone() == ("on", 0)
        with pytest.raises(ConfigurationError, match=f"the leader's lock {NEEDS_DIRECT}"):
            await connect(url, application_name="test", session_for="the leader's lock")
        address = DatabaseAddress(url, database.url)
        async with await connect(address, application_name="test", session_for="the leader's lock") as direct:
            assert direct.info.port == urlsplit(database.url).port


async def test_what_must_be_direct(database: Database) -> None:
    """Maintenance, migrations and the relay name the setting."""
    async with pooled(database) as url:
        settings = Settings.load(database_url=url, slot=database.settings.slot)
        with pytest.raises(ConfigurationError, match=NEEDS_DIRECT):
            await serve(ServeOptions(), settings)
        with pytest.raises(ConfigurationError, match=NEEDS_DIRECT):
            await migrate(settings)
        assert (await inspect(settings)).up_to_date  # a comparison needs no lock
        with pytest.raises(ConfigurationError, match="a pooler .* can't stream the WAL: set DELEGATOR_DIRECT"):
            async with running_relay(RelayOptions.from_settings(settings, port=0)):
                pass
        direct = settings.model_copy(update={"direct_database_url": database.settings.database_url})
        assert (await inspect(direct)).up_to_date
        async with running_relay(RelayOptions.from_settings(direct, port=0)) as handle:
            assert handle.relay.state.connected


async def test_other_settings(database: Database) -> None:
    """A setting that can't be set through the pooler is refused, with the statement that mends it."""
    await set_all(database.url, database.name, {"DateStyle": "German"})
    async with pooled(database) as url:
        with pytest.raises(ConfigurationError, match=r"DateStyle is not ISO .* ALTER ROLE \"postgres\" IN DATABASE"):
            async with connection_pool(url, application_name="test", size=1):
                pass


async def test_session_mode(database: Database) -> None:
    """In session mode a connection has a session of its own, with the settings of the engine."""
    await set_all(database.url, database.name, {"statement_timeout": "70ms"})
    async with (
        pooled(database, "session") as url,
        await connect(url, application_name="test", session_for="the leader's lock") as connection,
    ):
        assert await (await connection.execute("SHOW statement_timeout")).fetchone() == ("0",)
