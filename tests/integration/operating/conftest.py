"""A whole engine, and what an operator types."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from delegator import DelegatorPlugin
from delegator.dev.temporal import TemporalServer
from tests.integration.delegator.environment import BRIEF, Environment, HttpWorker, environment, eventually
from tests.integration.operating import shop
from tests.integration.operating.commands import Ran, delegator
from tests.support import Databases

_PREFIXES = ("DELEGATOR_", "TEMPORAL_")
SHOP = "tests.integration.operating.shop"


@dataclass(frozen=True)
class Operator:
    """An engine, and an operator's shell."""

    engine: Environment
    task_queue: str

    async def run(self, *arguments: object, **environment: str) -> Ran:
        settings = self.engine.settings
        variables = {
            "DELEGATOR_SLOT": settings.slot,
            "DELEGATOR_PUBLICATION": settings.publication,
            **{name: value for name, value in self.engine.variables.items() if name.startswith(_PREFIXES)},
        }
        return await delegator(*arguments, **{**variables, **environment})

    async def json(self, *arguments: object) -> Any:
        ran = await self.run(*arguments, "--json")
        assert (ran.code, ran.err) == (0, ""), ran
        return ran.json

    async def until(self, *arguments: object, that: Callable[[Any], Any]) -> Any:
        """Repeat a command until its JSON is as wanted, and return it."""

        async def holds() -> Any:
            found = await self.json(*arguments)
            return [found] if that(found) else None

        (found,) = await eventually(holds)
        return found

    async def buy(self, activity_type: str, argument: str = "x", **options: Any) -> WorkflowHandle[Any, Any]:
        """Start a workflow that delegates one job."""
        return await self.engine.start(
            shop.Purchase.run, activity_type, argument, task_queue=self.task_queue, **options
        )

    async def job(self, handle: WorkflowHandle[Any, Any], **wanted: Any) -> dict[str, Any]:
        """Wait until the workflow's job is as wanted; what `jobs list` says of it."""
        found = await self.until(
            "jobs",
            "list",
            "--workflow-id",
            handle.id,
            that=lambda rows: rows and all(rows[0][name] == value for name, value in wanted.items()),
        )
        return dict(found[0])

    def worker(self, **variables: str) -> AbstractAsyncContextManager[HttpWorker]:
        return self.engine.http_worker(modules=(SHOP,), **variables)


@asynccontextmanager
async def running_operator(databases: Databases, temporal: TemporalServer, **options: Any) -> AsyncIterator[Operator]:
    """Start an engine without an HTTP worker, and a Temporal worker."""
    async with environment(databases, temporal, http_worker=False, **options) as engine:
        plugin = DelegatorPlugin([shop], settings=engine.settings, options=BRIEF)
        task_queue = f"shop-{uuid.uuid4()}"
        async with Worker(engine.client, task_queue=task_queue, plugins=[plugin], workflows=[shop.Purchase]):
            yield Operator(engine, task_queue)


@pytest.fixture(scope="module")
async def operator(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Operator]:
    async with running_operator(databases, temporal) as running:
        yield running
