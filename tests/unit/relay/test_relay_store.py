import asyncio
import gc
import re
from itertools import islice
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delegator.relay.message import Delivery, Message
from delegator.relay.progress import Transaction
from delegator.relay.store import OVERHEAD, Budget, Stream, ack_ids


def make(timeout: float = 30.0, budget: Budget | None = None) -> Stream:
    return Stream("s", budget or Budget(1000, 1 << 20, 0.5), timeout)


def put(stream: Stream, *rows: str) -> list[Message]:
    for row in rows:
        stream.put(Transaction(1), 0, b"", row.encode(), b"")
    messages = list(stream._ready)[len(stream._ready) - len(rows) :]
    stream.flush()
    return messages


def rows(batch: list[Message]) -> list[str]:
    return [message.job_id.decode() for message in batch]


def ids(batch: list[Message]) -> list[str]:
    return [message.ack_id.decode() for message in batch]


def test_ack_ids_are_distinct_version_4_uuids() -> None:
    made = [ack_id.decode() for ack_id in islice(ack_ids(), 10_000)]
    assert len(set(made)) == 10_000
    assert all(str(UUID(text)) == text and UUID(text).version == 4 for text in made)
    assert all(re.match(r".{19}[89ab]", text) for text in made)
    assert next(ack_ids())[:23] != next(ack_ids())[:23]


async def test_order() -> None:
    """Messages are delivered once, in order."""
    stream = make()
    put(stream, "a", "b", "c")
    assert rows(await stream.receive(2, 0)) == ["a", "b"]
    assert rows(await stream.receive(2, 0)) == ["c"]
    assert await stream.receive(2, 0) == []


async def test_ack() -> None:
    """An acked message is gone; ids that are unknown or already acked are ignored."""
    budget = Budget(10, 1 << 20, 0.5)
    stream = make(budget=budget)
    (message,) = put(stream, "abc")
    assert stream.size == budget.bytes == 3 + OVERHEAD
    transaction = message.transaction
    (ack_id,) = ids([message])
    found = stream.find([ack_id] * 2)
    stream.ack([*found, None])
    stream.ack(found)
    assert (stream.acked, len(stream), stream.size, budget.messages, budget.bytes) == (1, 0, 0, 0, 0)
    assert transaction.pending == 0
    assert stream.find([ack_id]) == stream.find(["é"]) == [None]


async def test_ack_before_delivery() -> None:
    """A message that was acked while it was visible is not delivered."""
    stream = make()
    a, _b = put(stream, "a", "b")
    stream.ack([a])
    assert rows(await stream.receive(10, 0)) == ["b"]


async def test_nack() -> None:
    """A message that is nacked is visible at once, under the same ack_id."""
    stream = make()
    put(stream, "a", "b")
    batch = await stream.receive(10, 0)
    before = ids(batch)
    stream.nack(batch)
    again = await stream.receive(10, 0)
    assert rows(again) == ["a", "b"] and ids(again) == before
    assert (stream.nacked, stream.redelivered, stream.delivered) == (2, 2, 4)


async def test_nack_of_visible_message() -> None:
    """A nack of a visible message changes nothing."""
    stream = make()
    messages = put(stream, "a")
    stream.nack(messages)
    assert rows(await stream.receive(10, 0)) == ["a"]
    assert await stream.receive(10, 0) == []


async def test_visibility_timeout() -> None:
    """A message without an ack returns after its timeout, before newer ones."""
    stream = make(timeout=0.05)
    put(stream, "a", "b")
    a, b = await stream.receive(2, 0)
    stream.ack([b])
    put(stream, "c")
    await asyncio.sleep(0.08)
    assert rows(await stream.receive(10, 0)) == ["a", "c"]
    assert stream.redelivered == 1
    assert a.delivery is not None


async def test_a_poller_is_woken_at_once() -> None:
    """Of several pollers that wait, one gets the message."""
    stream = make()
    pollers = [asyncio.create_task(stream.receive(10, 600)) for _ in range(3)]
    await asyncio.sleep(0)
    assert stream.pollers == 3
    put(stream, "a")
    async with asyncio.timeout(60):
        assert rows(await pollers[0]) == ["a"]
    put(stream, "b", "c")
    async with asyncio.timeout(60):
        assert rows(await pollers[1]) == ["b", "c"]
    stream.stop()
    assert await pollers[2] == []


async def test_pollers_share() -> None:
    """What is left by one poller goes to the next."""
    stream = make()
    pollers = [asyncio.create_task(stream.receive(2, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    put(stream, "a", "b", "c")
    assert [rows(await poller) for poller in pollers] == [["a", "b"], ["c"]]


async def test_pollers_are_served_in_order() -> None:
    """A new poller does not overtake one that waits."""
    stream = make()
    first = asyncio.create_task(stream.receive(1, 5))
    await asyncio.sleep(0)
    stream._ready.extend(put(make(), "a"))
    assert await stream.receive(1, 0.01) == []
    assert rows(await first) == ["a"]


async def test_a_wait_ends_empty_after_its_time() -> None:
    stream = make()
    assert await stream.receive(1, 0.02) == []
    assert stream.pollers == 0


async def test_cancelled_after_delivery() -> None:
    """Messages that a cancelled poller was handed are visible again."""
    stream = make()
    poller = asyncio.create_task(stream.receive(1, 5))
    await asyncio.sleep(0)
    put(stream, "a")
    poller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poller
    assert rows(await stream.receive(1, 0)) == ["a"]


async def test_a_cancelled_poller_takes_no_message() -> None:
    stream = make()
    poller = asyncio.create_task(stream.receive(1, 5))
    await asyncio.sleep(0)
    poller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poller
    put(stream, "a")
    assert rows(await stream.receive(1, 0)) == ["a"]


async def test_acked_deliveries_are_forgotten() -> None:
    """A delivery whose messages are all acked does not stay in memory until its timeout."""
    stream = make()
    for _ in range(50):
        put(stream, "a", "b")
        stream.ack(await stream.receive(10, 0))
    assert len(stream._inflight) <= 1
    assert not stream._ready


async def test_acked_messages_are_freed() -> None:
    """An acked message leaves memory without the help of the garbage collector."""

    def alive() -> int:
        # Not isinstance: other tests may leave objects of the workflow sandbox that refuse to be looked at.
        return sum(type(item) in (Message, Delivery) for item in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        stream = make()
        put(stream, "a", "b", "c")
        batch = await stream.receive(3, 0)
        stream.ack(batch[:2])
        assert not any(message.job_id or message.fencing_token for message in batch[:2])
        stream.nack(batch[2:])
        stream.ack(await stream.receive(1, 0))
        del batch
        assert alive() == before
    finally:
        gc.enable()


async def test_low_water() -> None:
    """A reader that waits for room goes on when the low-water mark is reached."""
    budget = Budget(4, 1 << 20, 0.5)
    stream = make(budget=budget)
    messages = put(stream, "a", "b", "c", "d")
    assert budget.full
    calls: list[int] = []
    budget.on_room = lambda: calls.append(budget.messages)
    for message in messages:
        stream.ack([message])
    assert calls == [2]
    big = Budget(100, 2 * OVERHEAD, 0.5)
    put(make(budget=big), "x" * OVERHEAD)
    assert big.full


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "take", "ack", "nack", "back"]), st.integers(0, 5))))
def test_any_sequence_of_calls(steps: list[tuple[str, int]]) -> None:
    """No message is lost, and none is delivered to two pollers at a time."""

    async def scenario() -> None:
        stream = make()
        hidden: list[Message] = []
        alive: set[str] = set()
        number = 0
        for action, n in steps:
            if action == "put":
                names = [f"m{number + i}" for i in range(n)]
                number += n
                put(stream, *names)
                alive.update(names)
            elif action == "take":
                batch = await stream.receive(n + 1, 0)
                assert not {m.job_id for m in batch} & {m.job_id for m in hidden}
                hidden += batch
            else:
                batch, hidden = hidden[:n], hidden[n:]
                if action == "ack":
                    alive.difference_update(rows(batch))
                    stream.ack(batch)
                elif action == "nack":
                    stream.nack(batch)
                else:
                    stream.give_back(batch)
        assert len(stream) == len(alive)
        stream.nack(hidden)
        assert sorted(rows(await stream.receive(1000, 0))) == sorted(alive)
        assert stream._budget.messages == len(alive)
        stream.stop()

    asyncio.run(scenario())
