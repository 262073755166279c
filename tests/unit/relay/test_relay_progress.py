"""What may be confirmed, and what a server repeats after a reconnection."""

import asyncio

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from delegator.relay.ingest import Ingest
from delegator.relay.message import Message, answer
from delegator.relay.store import Stream

from .walsender import begin, commit, connect, ingest, insert, keepalive


def send(target: Ingest, lsn: int, *jobs: str, upto: int | None = None) -> None:
    target.handle(begin(lsn))
    for job in jobs[:upto]:
        target.handle(insert(1, job, "7"))
    if upto is None:
        target.handle(commit(lsn, lsn + 5))


def jobs_of(batch: list[Message]) -> list[str]:
    return [json["data"]["record"]["job_id"] for json in orjson.loads(answer(batch))["data"]]


async def names(stream: Stream) -> list[str]:
    return jobs_of(await stream.receive(1000, 0))


async def test_confirmed_in_order() -> None:
    """A transaction is confirmed when its messages and all earlier ones are acked."""
    target, stream = ingest()
    send(target, 10, "a", "b")
    send(target, 20, "c")
    a, b, c = await stream.receive(10, 0)
    stream.ack([c, a])
    assert target.progress.confirmed == 0
    stream.ack([b])
    assert target.progress.confirmed == 25
    assert target.progress.unresolved == 0


async def test_open_transaction() -> None:
    """A transaction whose end was not received is not confirmed, though its messages are acked."""
    target, stream = ingest()
    send(target, 10, "a", upto=1)
    target.handle(keepalive(12))
    stream.ack(await stream.receive(10, 0))
    assert target.progress.confirmed == 0
    target.handle(commit(10, 15))
    assert target.progress.confirmed == 15


async def test_keepalives() -> None:
    """Keepalives move the slot while no message waits for its ack."""
    target, stream = ingest()
    assert target.handle(keepalive(100)) is False
    assert target.handle(keepalive(200, reply=True)) is True
    assert target.progress.confirmed == 200
    send(target, 210, "a")
    target.handle(keepalive(300))
    assert target.progress.confirmed == 200
    stream.ack(await stream.receive(10, 0))
    assert target.progress.confirmed == 300


async def test_transactions_of_other_tables() -> None:
    """A transaction of other tables is confirmed at once."""
    target, stream = ingest()
    target.handle(begin(10))
    target.handle(insert(2, "1"))
    target.handle(commit(10, 15))
    assert target.progress.confirmed == 15
    assert len(stream) == 0


async def test_keepalive_within_transaction() -> None:
    """A keepalive within a transaction confirms nothing."""
    target, _ = ingest()
    target.handle(begin(10))
    target.handle(keepalive(50))
    assert target.progress.confirmed == 0


async def test_repeated_after_reconnection() -> None:
    """A message that the server repeats keeps its ack_id; an acked one does not return."""
    target, stream = ingest()
    send(target, 10, "a", "b")
    send(target, 20, "c")
    a, b, c = await stream.receive(10, 0)
    stream.ack([b])
    connect(target)
    send(target, 10, "a", "b")
    send(target, 20, "c")
    assert await names(stream) == []
    stream.nack([a, c])
    assert await stream.receive(10, 0) == [a, c]
    stream.ack([a, c])
    assert target.progress.confirmed == 25


async def test_cut_transaction() -> None:
    """A transaction that a lost connection cuts goes on with its next message."""
    target, stream = ingest()
    send(target, 10, "a", "b", "c", upto=2)
    connect(target)
    send(target, 10, "a", "b", "c")
    assert await names(stream) == ["a", "b", "c"]


async def test_new_slot() -> None:
    """Messages that were buffered before do not hold a new slot back."""
    target, stream = ingest()
    send(target, 10, "a", upto=1)
    target.new_slot(0)
    connect(target)
    send(target, 30, "b")
    batch = await stream.receive(10, 0)
    stream.ack(batch[1:])
    assert target.progress.confirmed == 35
    stream.ack(batch[:1])


async def test_lower_positions() -> None:
    """Messages of a new history are taken although their positions are lower than earlier ones."""
    target, stream = ingest()
    send(target, 1000, "a")
    target.new_history()
    connect(target)
    send(target, 10, "b")
    assert await names(stream) == ["a", "b"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), max_size=4), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_any_number_of_cuts(shapes: list[list[bool]], cuts: list[tuple[int, int]], random: object) -> None:
    """The server sends transactions of our and of other tables; cuts end connections after some messages."""
    history: list[tuple[int, int, list[bytes], list[str]]] = []
    for number, shape in enumerate(shapes):
        lsn, jobs, rows = 100 * (number + 1), [], []
        for at, ours in enumerate(shape):
            jobs += [f"{number}.{at}"] if ours else []
            rows.append(insert(1, f"{number}.{at}", "7") if ours else insert(2, "1"))
        history.append((lsn, lsn + 50, [begin(lsn), *rows, commit(lsn, lsn + 50), keepalive(lsn + 60)], jobs))

    async def scenario() -> None:
        target, stream = ingest()
        seen: list[str] = []
        acked: set[str] = set()
        confirmed = 0

        async def consume(share: int) -> None:
            nonlocal confirmed
            batch = await stream.receive(share or 1, 0)
            seen.extend(jobs_of(batch))
            keep = [m for m in batch if random.random() < 0.7]  # type: ignore[attr-defined]
            acked.update(jobs_of(keep))
            stream.ack(keep)
            confirmed = max(confirmed, target.progress.confirmed)
            for _, end, _, jobs in history:
                assert confirmed < end or acked.issuperset(jobs)

        for share, length in [*cuts, (9, 10_000)]:
            connect(target)
            messages = [m for _, end, sent, _ in history if end > confirmed for m in sent]
            for message in messages[:length]:
                target.handle(message)
            await consume(share)
        while batch_left := len(stream._ready):
            await consume(batch_left)
        assert sorted(seen) == sorted(job for *_, jobs in history for job in jobs)
        stream.stop()

    asyncio.run(scenario())
