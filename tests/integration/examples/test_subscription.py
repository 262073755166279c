from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.worker import Replayer, Worker

from delegator import DelegatorPlugin
from delegator.dev import RunningStack
from examples.command import until
from examples.database import fetch_value
from examples.local import Pool, System, local_system
from examples.subscription import tasks
from examples.subscription.workflow import Subscription
from tests.integration.examples import slow_bank

GOOD, OTHER, BAD = "4242424242424242", "5555555555554444", "4242424242424241"


class Bank(NamedTuple):
    """A system whose bank answers when the test says so."""

    system: System
    directory: Path

    def start(self, **arguments: Any) -> Any:
        name = f"subscription-{uuid.uuid4()}"
        return self.system.client.start_workflow(Subscription.run, id=name, task_queue=name, **arguments)

    def worker(self, handle: WorkflowHandle[Any, Any]) -> Worker:
        return Worker(self.system.client, task_queue=handle.id, workflows=[Subscription])

    async def asked(self, card: str, times: int = 1) -> None:
        file = self.directory / f"{card}.asked"

        async def is_asked() -> bool:
            return file.exists() and len(file.read_text().splitlines()) >= times

        await until(f"{card} is asked for", is_asked)

    def answer(self, card: str, answer: str = "yes") -> None:
        (self.directory / f"{card}.answer").write_text(answer)


@pytest.fixture(scope="module")
async def bank(servers: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    directory = tmp_path_factory.mktemp("bank")
    async with local_system(Pool([slow_bank], environment={slow_bank.DIRECTORY: str(directory)})) as system:
        yield Bank(system, directory)


@pytest.fixture
def cards() -> tuple[str, str]:
    """Two cards that no other test has."""
    return str(uuid.uuid4()), str(uuid.uuid4())


async def test_command(run_command, servers: RunningStack) -> None:
    """The command plays a subscriber."""
    ended = await run_command("subscription")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.splitlines() == [
        "query:  active",
        "signal: updated",
        "update: refused, CardRefused: this card can't be charged, or the subscription has ended",
        "cancel: cancelled",
        "proven: the last valid card stays",
        "proven: the query answers after the end, too",
    ]


@pytest.mark.parametrize(
    ("card", "is_valid"), [(GOOD, True), (OTHER, True), (BAD, False), ("", False), ("٤" * 16, False), ("0" * 20, False)]
)
async def test_card(card: str, is_valid: bool) -> None:
    assert await tasks.is_valid_card(card) is is_valid


async def test_last_sent_wins(bank: Bank, cards: tuple[str, str]) -> None:
    """Of two cards the one that was sent last counts, although its check ends first."""
    first, last = cards
    handle = await bank.start()
    async with bank.worker(handle):
        for card in cards:
            await handle.signal(Subscription.billing_changed, card)
            await bank.asked(card)
        bank.answer(last)
        await has(handle, lambda status: status.card == last)
        bank.answer(first)
        await no_jobs(handle)
        await handle.signal(Subscription.cancel)
        result = await handle.result()
    assert (result.state, result.card, result.ignored) == ("cancelled", last, [])


async def test_refused_card_changes_nothing(bank: Bank, cards: tuple[str, str]) -> None:
    """If the last card is refused, the one before it counts, although its check ends later."""
    first, last = cards
    handle = await bank.start()
    async with bank.worker(handle):
        for card in cards:
            await handle.signal(Subscription.billing_changed, card)
        bank.answer(last, "no")
        await has(handle, lambda status: status.ignored == [last])
        bank.answer(first)
        await has(handle, lambda status: status.card == first)
        await handle.terminate()


async def test_too_late(bank: Bank, cards: tuple[str, str]) -> None:
    """After a cancellation cards are recorded and nothing else; the workflow waits for the check that still runs."""
    early, late = cards
    handle = await bank.start()
    async with bank.worker(handle):
        await handle.signal(Subscription.billing_changed, early)
        await bank.asked(early)
        await handle.signal(Subscription.cancel)
        await handle.signal(Subscription.billing_changed, late)
        await has(handle, lambda status: status.ignored == [late])
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Subscription.change_billing, late)
        assert "ended" in str(refused.value.cause)
        bank.answer(early)
        result = await handle.result()
        assert (result.state, result.card, result.ignored) == ("cancelled", None, [late, early])
        assert await handle.query(Subscription.status) == result
    assert not (bank.directory / f"{late}.asked").exists()


async def test_signal_with_start(bank: Bank, cards: tuple[str, str]) -> None:
    """A signal that comes with the start is handled before `run`."""
    bank.answer(cards[0])
    handle = await bank.start(start_signal="billing_changed", start_signal_args=[cards[0]])
    async with bank.worker(handle):
        await has(handle, lambda status: status.card == cards[0])
        await handle.signal(Subscription.cancel)
        assert (await handle.result()).state == "cancelled"


async def test_expiry(bank: Bank) -> None:
    handle = await bank.start(args=[1])
    async with bank.worker(handle):
        assert (await handle.result()).state == "expired"


@pytest.mark.parametrize("first", ["cancel", "expiry"])
async def test_both_ends_at_once(bank: Bank, first: str) -> None:
    """A cancellation and the expiry in one workflow task: cancelled, in whichever order they came; so does a replay."""
    handle = await bank.start(args=[1])
    async with bank.worker(handle):
        assert (await handle.query(Subscription.status)).state == "active"
    if first == "cancel":
        await handle.signal(Subscription.cancel)

    async def has_expired() -> bool:
        return any([event.HasField("timer_fired_event_attributes") async for event in handle.fetch_history_events()])

    await until("the timer fires", has_expired)
    if first == "expiry":
        await handle.signal(Subscription.cancel)
    async with bank.worker(handle):
        assert (await handle.result()).state == "cancelled"
    await Replayer(workflows=[Subscription], plugins=[DelegatorPlugin()]).replay_workflow(await handle.fetch_history())


async def test_killed_pool(bank: Bank, cards: tuple[str, str]) -> None:
    """A pool that is killed in a check: the next one repeats it, and the signal's handler gets the answer."""
    handle = await bank.start()
    async with bank.worker(handle):
        await handle.signal(Subscription.billing_changed, cards[0])
        await bank.asked(cards[0])
        await bank.system.pools["default"].kill()
        await bank.system.pools["default"].start()
        await bank.asked(cards[0], times=2)
        bank.answer(cards[0])
        await has(handle, lambda status: status.card == cards[0])
        await handle.terminate()


async def has(handle: WorkflowHandle[Any, Any], holds: Callable[[Any], bool]) -> None:
    async def condition() -> bool:
        return holds(await handle.query(Subscription.status))

    await until("the subscription's status", condition)


async def no_jobs(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the outcomes of all of its jobs have been signalled to a workflow."""

    async def condition() -> bool:
        return await fetch_value("SELECT count(*) FROM custom_task_queue WHERE workflow_id = %s", handle.id) == 0

    await until("the queue has no job of the workflow", condition)
