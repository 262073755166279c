"""`python -m examples.payments.orchestrator`: run the workflows' worker alone, until Ctrl-C."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from temporalio.worker import Worker

from delegator import PluginOptions, connect
from examples.payments.contracts import CONTRACTS, SERVICES, TASK_QUEUE
from examples.payments.orchestrator.fraud_check import FraudCheck
from examples.payments.orchestrator.temporal import register_search_attributes
from examples.payments.service import is_delegated
from examples.service import http_server, run_service, setting

# A call's task queue names the queue of its service. All payments began with delegation, so none needs the marker that
# tells runs from before the switch.
DELEGATED: Final = PluginOptions(intercept=True, patch=False, task_queues={service: service for service in SERVICES})


@asynccontextmanager
async def worker(port: int) -> AsyncIterator[None]:
    """Run the workflows. The dispatch is this one switch: the workflows' code is the same."""
    client = await connect(CONTRACTS, options=DELEGATED) if is_delegated() else await connect()
    await register_search_attributes(client)
    # The demonstration of an upgrade names another version's module.
    version = importlib.import_module(setting("PAYMENTS_VERSION", "examples.payments.orchestrator.workflow"))
    workflows = [version.PaymentWorkflow, FraudCheck]
    async with Worker(client, task_queue=TASK_QUEUE, workflows=workflows), http_server(web.Application(), port):
        yield


if __name__ == "__main__":
    run_service(worker)
