"""An application as a user would write it. Lines with `# error` are mistakes that every type checker must report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import Priority, RetryPolicy

from delegator import (
    DelegatorPlugin,
    PluginOptions,
    connect,
    contract,
    current_job,
    delegate,
    delegate_map,
    delegate_starmap,
    delegated,
    existing_activities,
    heartbeat,
    implements,
    resource,
)
from delegator.testing import DelegatorTestPlugin, InMemoryEngine, JobEnvironment, run_handler
from http_workers import HttpWorker


@dataclass(frozen=True)
class Order:
    number: int


class Database:
    """What a driver would offer."""

    async def execute(self, statement: str, *values: object) -> int:
        return len(statement) + len(values)


@resource
async def database() -> AsyncIterator[Database]:
    """The worker's connections."""
    yield Database()


@delegated
async def charge(order: Order, cents: int) -> str:
    heartbeat(current_job().attempt)
    return f"{order.number}:{await database.get().execute('charge', cents)}"


@delegated(
    queue="video",
    start_to_close_timeout=timedelta(seconds=30),
    schedule_to_start_timeout=timedelta(minutes=5),
    retry_policy=RetryPolicy(maximum_attempts=3),
    max_concurrent=2,
    max_per_second=0.5,
)
def render(width: int, height: int = 480) -> bytes:
    return bytes(width * height)


@delegated
@activity.defn(name="legacy")
async def legacy(order: Order) -> None:
    activity.heartbeat(order.number)


@activity.defn
async def untouched(order: Order) -> float:
    return float(order.number)


class Emails:
    """Holds what its handlers need."""

    def __init__(self, sender: str) -> None:
        self.sender = sender

    @delegated(start_to_close_timeout=timedelta(seconds=5))
    async def send(self, to: str, lines: int) -> bool:
        return bool(lines and to and self.sender)

    @delegated
    def count(self, to: str) -> int:
        return len(to)


class Greeter:
    """Called like a function."""

    def __call__(self, name: str) -> str:
        return f"hello {name}"


greet = delegated(name="greet")(Greeter())


@contract(queue="elsewhere", schedule_to_start_timeout=timedelta(seconds=1))
async def convert(path: str) -> int:
    raise NotImplementedError


@implements(convert, max_concurrent=4)
async def convert_here(path: str) -> int:
    return len(path)


@implements(convert, max_per_second=10)
def convert_in_a_thread(path: str) -> int:
    return len(path)


class Converter:
    """Implements a contract with a method."""

    @implements(convert)
    async def convert(self, path: str) -> int:
        return len(path)


@workflow.defn
class Sale:
    """Right code."""

    @workflow.run
    async def run(self, order: Order) -> str:
        assert_type(await delegate(charge, order, 100), str)
        assert_type(await delegate(render, 640), bytes)
        assert_type(await delegate(render, 640, 480, heartbeat_timeout=timedelta(seconds=1)), bytes)
        assert_type(await delegate(legacy, order, job_id="legacy"), None)
        assert_type(await delegate(legacy, order, unique_id="legacy", priority=Priority(priority_key=1)), None)
        assert_type(await delegate(Emails.send, "a@b", 3, inline_wait=timedelta(0)), bool)
        assert_type(await delegate(Emails.count, "a@b"), int)
        assert_type(await delegate(greet, "you"), str)
        assert_type(await delegate(convert, "x"), int)
        assert_type(await delegate("charge", order, 1, result_type=str, queue="default"), str)
        assert_type(
            await delegate_map(
                convert,
                ["x", "y"],
                start_to_close_timeout=timedelta(seconds=1),
                cancellation_type=workflow.ActivityCancellationType.ABANDON,
            ),
            list[int],
        )
        assert_type(await delegate_map(render, [1, 2]), list[bytes])
        assert_type(await delegate_map(Emails.count, ["a"]), list[int])
        assert_type(await delegate_map(convert, ["x"], return_exceptions=True), list[int | BaseException])
        assert_type(await delegate_map("convert", ["x"], result_type=int), list[int])
        assert_type(await delegate_starmap(charge, [(order, 1)], schedule_to_close_timeout=timedelta(1)), list[str])
        assert_type(await delegate_starmap(Emails.send, [("a", 1)]), list[bool])
        assert_type(await delegate_starmap(render, [(1, 2)], return_exceptions=True), list[bytes | BaseException])
        assert_type(await delegate_starmap("charge", [(order, 1)], result_type=str, queue="default"), list[str])
        assert_type(await workflow.execute_activity(charge, args=[order, 1], start_to_close_timeout=timedelta(1)), str)
        return await delegate(charge, order, 1)


async def call_directly() -> None:
    assert_type(await charge(Order(1), cents=5), str)
    assert_type(render(1), bytes)
    assert_type(await Emails("me").send("you", lines=2), bool)
    assert_type(greet("you"), str)
    assert_type(await convert_here("x"), int)
    with database.provide(Database()) as fake:
        assert_type(fake, Database)
    assert_type(database.get(), Database)


async def run_workers() -> None:
    client = await connect([charge, render], intercept=True, options=PluginOptions(inline_wait=timedelta(0)))
    assert_type(client, Client)
    plugin = DelegatorPlugin(existing_activities(untouched), intercept=True, resources=[database])
    assert plugin.name()
    async with HttpWorker([charge, Emails("me").send, database], queue="default", concurrency=10) as worker:
        assert_type(worker.is_running, bool)
    await HttpWorker(existing_activities(untouched)).run()


async def in_tests(order: Order) -> None:
    receipt = await run_handler(charge, order, 1, attempt=2, start_to_close_timeout=timedelta(1))
    assert_type(receipt, str)
    assert_type(await JobEnvironment(heartbeat_details=[1]).run(Emails("me").send, "a@b", 1), bool)
    async with InMemoryEngine([charge], fakes={charge: render, "other": charge}, provide={database: None}) as engine:
        assert_type(await engine.run(charge, order, 1, job_id="mine"), str)
        assert_type(await engine.run(Emails.send, "a@b", 1), bool)
    plugin = DelegatorTestPlugin([charge, database], intercept=True, paused=True)
    assert_type(plugin.engine.jobs_of(charge)[0].result, Any)


async def mistakes_in_tests(order: Order) -> None:
    await run_handler(charge, order)  # error: an argument is missing
    await run_handler(charge, order, 1, attempts=2)  # error: a misspelt option
    wrong: int = await run_handler(charge, order, 1)  # error: the result's type
    JobEnvironment(heartbeat_timeout=5)  # error: seconds are no timedelta
    async with InMemoryEngine([charge]) as engine:
        await engine.run(charge, 1, order)  # error: the arguments are swapped
    print(wrong)


async def mistakes_in_calls(order: Order) -> None:
    await delegate(charge, order)  # error: an argument is missing
    await delegate(charge, 1, order)  # error: the arguments are swapped
    await delegate(charge, order, 1, 2)  # error: an argument too many
    await delegate(render, "640")  # error: the type of a plain function's argument
    await delegate(Emails.send, "a@b")  # error: an argument of a method is missing
    await delegate(Emails.send, Emails("me"), "a@b", 1)  # error: a method is named without an object
    await delegate(greet, 1)  # error: the type of a callable object's argument
    await delegate(convert, b"x")  # error: the type of a contract's argument
    await delegate(charge, order, 1, start_to_close_timout=timedelta(1))  # error: a misspelt option
    await delegate(charge, order, 1, start_to_close_timeout=30)  # error: seconds are no timedelta
    await delegate_map(convert, [1, 2])  # error: the type of the items
    await delegate_map(convert, ["x"], heartbeat_timeout=5)  # error: an option of the wrong type
    await delegate_starmap(charge, [(order,)])  # error: tuples that are too short
    await delegate_starmap(charge, [(order, 1)], retry=3)  # error: an option that does not exist
    wrong: int = await delegate(charge, order, 1)  # error: the result's type
    also: str = await delegate("charge", order, 1, result_type=int)  # error: the result's type, by name
    print(wrong, also)


@delegated(max_concurent=2)  # error: a misspelt option of a declaration
async def misspelt() -> None: ...


@delegated(retry_policy=3)  # error: an option of a declaration has the wrong type
async def mistyped() -> None: ...


@contract(max_concurrent=2)  # error: only what runs jobs has limits
async def limited() -> None: ...


@implements(convert)  # error: another result than the contract's
async def other_result(path: str) -> str:
    return path


@implements(convert)  # error: another argument than the contract's
async def other_argument(path: int) -> int:
    return path


@resource  # error: a resource yields
async def returned() -> Database:
    return Database()


async def mistakes_of_workers() -> None:
    database.get().exeute("charge")  # error: a misspelt method of what a resource gives
    HttpWorker([charge], concurency=3)  # error: a misspelt option of a worker
    await connect([charge], intercpt=True)  # error: a misspelt option of connect()
