"""Temporal's own server on its own PostgreSQL, where `make temporal-postgres` has built it."""

import asyncio
import os
from pathlib import Path

import aiohttp
import psycopg
import pytest
from temporalio.client import Client

from delegator.dev import StackOptions, embedded_stack, temporal_postgres
from delegator.errors import ConfigurationError
from tests.support.temporal_programs import needs_temporal_server

OPTIONS = StackOptions(headless=True, usual_ports=False, temporal="postgres", programs=())


@needs_temporal_server
async def test_kill_and_restart() -> None:
    """Temporal's own PostgreSQL runs beside that of the queue, and keeps its data after a kill."""
    async with embedded_stack(OPTIONS) as stack:
        assert {"postgres", "temporal", "temporal-postgres"} <= set(stack.pids)
        assert stack.temporal_ui_url is None
        assert stack.temporal_postgres is not None
        async with await psycopg.AsyncConnection.connect(stack.temporal_postgres.url("temporal")) as connection:
            cursor = await connection.execute(
                "SELECT current_setting('fsync'), current_setting('wal_level'), count(*) FROM namespaces"
                " WHERE name = 'default'"
            )
            assert await cursor.fetchone() == ("on", "replica", 1)
        async with await psycopg.AsyncConnection.connect(stack.postgres.url("postgres")) as connection:
            cursor = await connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'temporal%'")
            assert await cursor.fetchall() == []
        client = await Client.connect(stack.temporal_address)
        await client.start_workflow("unknown", id="kept", task_queue="nobody")
        async with aiohttp.ClientSession() as session, session.get(stack.temporal_metrics_url) as response:
            assert "persistence_requests{" in await response.text()

        address = stack.temporal_address
        await stack.kill("temporal")
        await stack.restart("temporal-postgres", mode="immediate")
        await stack.start("temporal")
        assert stack.temporal_address == address
        client = await Client.connect(address)
        assert (await client.get_workflow_handle("kept").describe()).id == "kept"


async def test_missing_binaries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error about missing programs names the make target that builds them."""
    monkeypatch.setattr(temporal_postgres, "_BUILT", tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join(("/usr/bin", "/bin")))
    with pytest.raises(ConfigurationError, match=r"temporal-server and temporal-sql-tool.*make temporal-postgres"):
        async with embedded_stack(StackOptions(data_dir=tmp_path / "stack", temporal="postgres")):
            await asyncio.sleep(0)
    assert not (tmp_path / "stack").exists()
