"""Handlers with fleet-wide limits, for workers in processes of their own."""

from __future__ import annotations

from delegator import FleetLimits, delegated
from tests.integration.delegator.tasks import begin


@delegated(fleet_limits=FleetLimits(max_concurrent=1))
async def alone(number: int) -> None:
    await begin()
