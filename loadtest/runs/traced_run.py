"""Run one workflow of one job while its servers log each SQL statement."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from delegator.errors import DelegatorError
from loadtest.arms import arm_named
from loadtest.arms.base import Session
from loadtest.meters.statement_log import Logged, LoggingServer, logged, traced
from loadtest.progress import Progress
from loadtest.results.trace import Trace
from loadtest.runs.cleanup import deleting, finish_rows, terminating
from loadtest.runs.plan import Plan
from loadtest.servers.crew import Crew, crew
from loadtest.servers.stack import Servers, connect
from loadtest.workload.ledger import DIRECTORY_VARIABLE
from loadtest.workload.scenarios import Load

_LOAD: Final = Load(workflows=1, jobs=1, concurrency=1)
_WARM_UPS: Final = 3
_SETTLING_SECONDS: Final = 2.0  # Temporal writes a little after it gave the result
_IDLE_SECONDS: Final = 5.0


async def trace(arm: str, servers: Servers, logging: Mapping[str, LoggingServer], progress: Progress) -> Trace:
    """Trace one workflow of one job.

    Args:
        arm: the arm that runs it.
        servers: where.
        logging: the PostgreSQL servers, by name.
        progress: gets complaints.

    Raises:
        DelegatorError: a server or a worker process failed, or the workflow did.
    """
    plan = Plan(arm=arm, scenario="single", load=_LOAD)
    plan.check()
    kind = arm_named(arm)
    with TemporaryDirectory(prefix="loadtest-logs-") as logs, TemporaryDirectory(prefix="loadtest-ledger-") as ledger:
        session = Session(
            client=await connect(servers.environment),
            task_queue=f"loadtest-{arm}-{uuid.uuid4().hex[:8]}",
            timeout=plan.timeout,
            ledger=Path(ledger),
            database_url=servers.database_url if kind.delegates else None,
        )
        processes = kind.processes(session.task_queue)
        async with (
            crew(
                [*processes.standing, *processes.job_workers],
                environment={**servers.environment, DIRECTORY_VARIABLE: ledger},
                directory=Path(logs),
            ) as workers,
            deleting(session, workers.pids.values(), progress.complain),
            terminating(kind, session, progress.complain),
        ):
            for number in range(1, 1 + _WARM_UPS):
                await _execute(plan, session, workers, number)
            await finish_rows(session)
            await asyncio.sleep(_SETTLING_SECONDS)
            async with AsyncExitStack() as stack:
                idle = await _logged(stack, logging)
                await workers.during(asyncio.sleep(_IDLE_SECONDS))
            async with AsyncExitStack() as stack:
                found = await _logged(stack, logging)
                await _execute(plan, session, workers, 0)
                await workers.during(asyncio.sleep(_SETTLING_SECONDS))
    moments = [one.moment for of_server in found.values() for one in of_server]
    start = min(moments, default=None)
    if start is None:
        raise DelegatorError("the servers logged no statement: is log_destination stderr?")
    return Trace(arm, {name: traced(found[name], idle[name], start) for name in logging})


async def _logged(stack: AsyncExitStack, logging: Mapping[str, LoggingServer]) -> Mapping[str, list[Logged]]:
    return {name: await stack.enter_async_context(logged(server)) for name, server in logging.items()}


async def _execute(plan: Plan, session: Session, workers: Crew, number: int) -> None:
    arm = arm_named(plan.arm)
    (work,) = plan.works(1, 1, start=number)
    answer = await workers.during(arm.execute(session, work))
    if answer != arm.expected(work):
        raise DelegatorError(f"the workflow of the arm {arm.name} gave a wrong answer")
