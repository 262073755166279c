"""Handlers of `via_tasks` under another name, for a worker at the database beside one behind a gateway."""

from __future__ import annotations

from delegator import delegated
from tests.integration.delegator.tasks import QUICK
from tests.integration.gateway import via_tasks

at_the_database = delegated(name="at_the_database", retry_policy=QUICK)(via_tasks.look_around)
