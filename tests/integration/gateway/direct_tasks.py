"""A handler of `via_tasks` under another name, for a worker at the database beside one behind a gateway."""

from __future__ import annotations

from typing import Any

from temporalio import activity

from delegator import delegated
from tests.integration.delegator.tasks import QUICK
from tests.integration.gateway.via_tasks import look_around


@delegated(retry_policy=QUICK)
@activity.defn
async def at_the_database() -> dict[str, Any]:
    return await look_around(activity.info())
