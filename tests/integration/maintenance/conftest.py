"""Connections to the database of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from delegator.postgres.connections import Connection, Pool, connect, connection_pool
from tests.support import Database


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with connection_pool(database.url, application_name="test", size=2) as made:
        yield made


@pytest.fixture
async def db(database: Database) -> AsyncIterator[Connection]:
    async with await connect(database.url, application_name="test") as connection:
        yield connection
