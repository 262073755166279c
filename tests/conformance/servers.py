"""The servers of a conformance run: PostgreSQL and the relay. Temporal is started by the SDK's own tests."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from pydantic import SecretStr

from delegator.config import Settings
from delegator.dev.directory import StackDirectory
from delegator.dev.migrations import migrate_database
from delegator.dev.postgres import Postgres
from delegator.relay import RelayOptions, running_relay

QUEUES: Final = tuple(f"q{number}" for number in range(8))
"""As many as a test may have task queues with activities."""


@asynccontextmanager
async def servers() -> AsyncIterator[Mapping[str, str]]:
    """Run the servers; the settings that name them."""
    # A process that is ended in the middle of a request is no error here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    directory = StackDirectory.open(None, keep=False)
    try:
        postgres = Postgres(directory.path / "postgres", directory.log("postgres"), durable=False, preferred_port=None)
        await postgres.start()
        try:
            url = await postgres.ensure_database()
            await migrate_database(url, QUEUES)
            settings = Settings.load(database_url=SecretStr(url), queues=QUEUES)
            async with running_relay(RelayOptions.from_settings(settings, port=0)) as relay:
                yield {
                    "DELEGATOR_DATABASE_URL": url,
                    "DELEGATOR_STREAM_URL": relay.url,
                    "DELEGATOR_QUEUES": ",".join(QUEUES),
                    "DELEGATOR_LEASE": "PT5S",
                }
        finally:
            await postgres.stop()
            postgres.release()
    finally:
        directory.close()
