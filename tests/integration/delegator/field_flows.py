"""Calls of activities that give one field each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy

with workflow.unsafe.imports_passed_through():
    import tests.integration.delegator.tasks as tasks

SECOND = timedelta(seconds=1)
OPTIONS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "activity": {},
        "activity_id": {"activity_id": "mine"},
        "task_queue": {"task_queue": "mapped"},
        "schedule_to_close_timeout": {"schedule_to_close_timeout": 41 * SECOND},
        "schedule_to_start_timeout": {"schedule_to_start_timeout": 42 * SECOND},
        "start_to_close_timeout": {"start_to_close_timeout": 43 * SECOND},
        "heartbeat_timeout": {"heartbeat_timeout": 44 * SECOND},
        "retry_policy": {"retry_policy": RetryPolicy(initial_interval=2 * SECOND, maximum_attempts=3)},
        "priority": {"priority": Priority(priority_key=2, fairness_weight=0.0001)},
        "versioning_intent": {"versioning_intent": workflow.VersioningIntent.DEFAULT},
        "summary": {"summary": "in short"},
    }
)
"""What a call gives, by the name of the field."""
NAMES = tuple(OPTIONS)


@workflow.defn
class GivesFields:
    """Makes a call for each field. The argument says which."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(
                    tasks.double, number, **{"start_to_close_timeout": 30 * SECOND, **OPTIONS[name]}
                )
                for number, name in enumerate(NAMES)
            )
        )


@workflow.defn
class GivesWhatIsRefused:
    """Makes calls that are refused, and says how."""

    @workflow.run
    async def run(self) -> list[str]:
        def said(call: Callable[[], Any]) -> str:
            try:
                call()
            except Exception as error:
                return f"{type(error).__name__}: {error}"
            return "not refused"

        def start(**options: Any) -> Any:
            return workflow.start_activity(tasks.double, 1, **{"start_to_close_timeout": 30 * SECOND, **options})

        handle = start(activity_id="twice")
        refused = [
            said(lambda: start(task_queue="unknown")),
            said(lambda: start(versioning_intent=workflow.VersioningIntent.COMPATIBLE)),
            said(lambda: start(activity_id="twice")),
            said(lambda: start(priority=Priority(fairness_key="x" * 65))),
            said(lambda: start(start_to_close_timeout=None)),
        ]
        handle.cancel()
        return refused


@workflow.defn
class StaysOrdinary:
    """Calls that are not delegated: a local activity, a task queue that has no queue."""

    @workflow.run
    async def run(self) -> list[int]:
        return [
            await workflow.execute_local_activity(tasks.double, 1, start_to_close_timeout=30 * SECOND),
            await workflow.execute_activity(
                tasks.double, 2, task_queue="ordinary workers", start_to_close_timeout=30 * SECOND
            ),
        ]


@workflow.defn
class GivesEventGroups:
    """Two calls in one local activity, each with a group of its own."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(
                    tasks.double,
                    1,
                    start_to_close_timeout=30 * SECOND,
                    event_groups=[workflow.create_event_group(name)],
                )
                for name in ("first", "second")
            )
        )


ALL = [GivesFields, GivesEventGroups, GivesWhatIsRefused, StaysOrdinary]
