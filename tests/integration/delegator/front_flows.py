"""Workflows that use handlers of every kind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from delegator import ConfigurationError, delegate, delegate_map, delegate_starmap

with workflow.unsafe.imports_passed_through():
    import tests.integration.delegator.front_tasks as tasks

SOON = timedelta(seconds=20)


EVERY_KIND = [
    "me>youx2",
    3,
    "hello you",
    2,
    "a line 1",
    ["a line", "another"],
    ["a line", "another", "a third"],
    [1, 2],
    ["hello x"],
    ["me>ax1", "me>bx2"],
    ["me>cx3"],
]


@workflow.defn
class EveryKind:
    @workflow.run
    async def run(self) -> list[Any]:
        return [
            await delegate(tasks.Emails.send, "you", 2, start_to_close_timeout=SOON),
            await delegate(tasks.Emails.count, "you"),
            await delegate(tasks.greet, "you"),
            await delegate(tasks.promised, 1),
            await delegate(tasks.noted_in_thread, "a line"),
            await delegate(tasks.noted, "another"),
            await delegate("noted", "a third", result_type=list),
            await delegate_map(tasks.Emails.count, ["a", "bc"], schedule_to_start_timeout=SOON),
            await delegate_map("greet", ["x"], result_type=str, inline_wait=timedelta(0)),
            await delegate_starmap(tasks.Emails.send, [("a", 1), ("b", 2)], schedule_to_close_timeout=SOON),
            await delegate_starmap("send", [("c", 3)], result_type=str, queue="default"),
        ]


@workflow.defn
class Put:
    @workflow.run
    async def run(self, lines: list[str]) -> list[int]:
        return [await delegate(tasks.Mailbox.put, line) for line in lines]


@workflow.defn
class Unedited:
    @workflow.run
    async def run(self) -> list[str]:
        quick = RetryPolicy(initial_interval=timedelta(milliseconds=1))
        return [
            await workflow.execute_activity(tasks.old_async, "one", start_to_close_timeout=SOON),
            await workflow.execute_activity("old sync", "two", start_to_close_timeout=SOON, retry_policy=quick),
            await workflow.execute_activity_method(
                tasks.OldActivities.old_method, "three", start_to_close_timeout=SOON
            ),
        ]


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await delegate(tasks.never, schedule_to_start_timeout=timedelta(milliseconds=100), inline_wait=timedelta(0))


@workflow.defn
class Meets:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        return await delegate_map(tasks.meet, range(count), start_to_close_timeout=SOON)


@workflow.defn
class Mistyped:
    """Returns the errors of calls with options of the wrong type."""

    @workflow.run
    async def run(self) -> list[str]:
        messages = []
        wrong: list[dict[str, Any]] = [
            {"start_to_close_timeout": 3},
            {"heartbeat_timeout": [3]},
            {"retry_policy": "three times"},
            {"cancellation_type": "ABANDON"},
            {"queue": "video"},
        ]
        for options in wrong:
            for call in (
                delegate(tasks.noted, "x", **options),
                delegate_map(tasks.noted, ["x"], **options),
                delegate_starmap(tasks.noted, [("x",)], **options),
            ):
                try:
                    await call
                except ConfigurationError as error:
                    messages.append(str(error))
        return messages
