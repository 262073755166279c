"""The schema check names the statement that gives a role what it lacks: executed, it is the cure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from delegator import Settings
from delegator.dev.migrations import migrate_database
from delegator.errors import SchemaError
from delegator.postgres.connections import Connection, connect
from delegator.postgres.schema_check import check
from tests.support import Databases


@pytest.fixture(params=["embedded", pytest.param("15", marks=pytest.mark.atlas)])
async def owner(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[Connection]:
    """The owner's connection, to the embedded PostgreSQL 18 and to Debian's 15."""
    if request.param == "15":
        url = request.getfixturevalue("postgres15").database()
        await migrate_database(url, ("default",))
        async with await connect(url, application_name="owner") as connection:
            yield connection
    else:
        async with databases.fresh() as database, await connect(database.url, application_name="owner") as connection:
            yield connection


MEMBER, NO_INHERIT, OUTSIDER = "IN ROLE delegator_app", "NOINHERIT IN ROLE delegator_app", ""
NO_INSERT = "REVOKE INSERT ON custom_task_queue FROM delegator_app"
NO_SCHEMA = "REVOKE USAGE ON SCHEMA public FROM delegator_app, PUBLIC"
GRANT_INSERT = 'GRANT INSERT ON TABLE "custom_task_queue" TO "delegator_app"'


@pytest.mark.parametrize(
    ("attributes", "harm", "expected"),
    [
        (MEMBER, NO_INSERT, (GRANT_INSERT,)),
        (MEMBER, NO_SCHEMA, ('GRANT USAGE ON SCHEMA "public" TO "delegator_app"',)),
        (NO_INHERIT, "SELECT 1", ("INHERIT",)),
        (NO_INHERIT, NO_INSERT, (GRANT_INSERT, "INHERIT")),
        (OUTSIDER, "SELECT 1", ('GRANT "delegator_app" TO "role_',)),
        (OUTSIDER, NO_INSERT, (GRANT_INSERT, 'GRANT "delegator_app" TO "role_')),
    ],
)
async def test_cure(attributes: str, harm: str, expected: tuple[str, ...], owner: Connection) -> None:
    """What the check says is missing is missing, and what it says to run is enough."""
    role = f"role_{owner.info.dbname}"
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' {attributes}".encode())
    try:
        await owner.execute(harm.encode())
        url = f"postgresql://{role}:x@{owner.info.host}:{owner.info.port}/{owner.info.dbname}"
        settings = Settings.load(database_url=SecretStr(url))
        with pytest.raises(SchemaError) as raised:
            await check(settings)
        cure = str(raised.value).partition(": ")[2].partition(", or set")[0]
        assert all(text in cure for text in expected), cure
        assert cure.count(";") == len(expected) - 1
        await owner.execute(cure.encode())
        await check(settings)
    finally:
        await owner.execute(f"DROP ROLE {role}".encode())
