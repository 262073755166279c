"""What a run ran on: needed to repeat it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from delegator.cli.main import DISTRIBUTION
from delegator.store.database import connect as connect_database


async def versions(client: Client, database_url: str | None) -> dict[str, Any]:
    """Return versions of the parts, and what the machine is.

    Args:
        client: asks Temporal.
        database_url: the delegator's database; None: there is none.
    """
    system = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    return {
        "delegator": version(DISTRIBUTION),
        "python": platform.python_version(),
        "temporalio": version("temporalio"),
        "temporal": system.server_version,
        "postgres": await _postgres(database_url) if database_url else None,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
    }


async def _postgres(database_url: str) -> str | None:
    async with await connect_database(database_url, application_name="loadtest") as connection:
        row = await (await connection.execute("SHOW server_version")).fetchone()
        return row[0] if row else None
