"""The in-memory store of one queue: the messages that were read from the WAL and are not acked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from secrets import randbits
from typing import Final

from delegator.relay.message import Delivery, Message
from delegator.relay.progress import Transaction

OVERHEAD = 400
"""Bytes of memory that a buffered message takes beside the text of its row."""
_TAILS: Final = [b"%03x" % number for number in range(4096)]


def ack_ids() -> Iterator[bytes]:
    """Make version 4 UUIDs in canonical form, from random bits that are drawn once and a counter."""
    head = randbits(74)
    text = f"{head:019x}"
    prefix = f"{text[:8]}-{text[8:12]}-4{text[12:15]}-{8 + (head & 3):x}{text[15:18]}-".encode()
    for number in count(randbits(32)):
        block = b"%b%09x" % (prefix, number)
        for tail in _TAILS:
            yield block + tail


class Budget:
    """Bounds what is buffered of one queue."""

    def __init__(self, max_messages: int, max_bytes: int, low_water: float) -> None:
        """Begin with nothing buffered.

        Args:
            max_messages: when so many messages are buffered, no further one may be read.
            max_bytes: likewise, in bytes of memory.
            low_water: the part of both limits at which reading goes on.
        """
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._low = int(max_messages * low_water), int(max_bytes * low_water)
        self.messages = 0
        self.bytes = 0
        self.on_room: Callable[[], None] | None = None
        """Called once when there is room again; set by a reader that waits."""

    @property
    def full(self) -> bool:
        """No further message may be read."""
        return self.messages >= self._max_messages or self.bytes >= self._max_bytes

    def release(self, messages: int, size: int) -> None:
        """Give back room, and let a reader go on that waits for it.

        Args:
            messages: how many messages were acked.
            size: bytes that they took.
        """
        self.messages -= messages
        self.bytes -= size
        if self.on_room is not None and self.messages <= self._low[0] and self.bytes <= self._low[1]:
            room, self.on_room = self.on_room, None
            room()


class _Poller:
    __slots__ = ("future", "limit")

    def __init__(self, limit: int, future: asyncio.Future[list[Message]]) -> None:
        self.limit = limit
        self.future = future


class Stream:
    """The messages of one queue. Not thread-safe: it lives on one event loop."""

    def __init__(self, name: str, budget: Budget, visibility_timeout: float) -> None:
        """Begin with no messages.

        Args:
            name: the stream's name.
            budget: bounds it.
            visibility_timeout: seconds for which a delivered message stays hidden without an ack.
        """
        self.name = name
        self.delivered = self.redelivered = self.acked = self.nacked = self.cleared = 0
        self._budget = budget
        self._timeout = visibility_timeout
        self._ack_ids = ack_ids()
        self._messages: dict[bytes, Message] = {}
        self._ready: deque[Message] = deque()
        self._inflight: deque[Delivery] = deque()
        self._pollers: deque[_Poller] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def received(self) -> int:
        """Messages put in so far."""
        return self.acked + self.cleared + len(self._messages)

    @property
    def size(self) -> int:
        """Bytes of memory that the buffered messages take."""
        return self._budget.bytes

    @property
    def pollers(self) -> int:
        """Requests that wait for a message."""
        return len(self._pollers)

    def put(self, transaction: Transaction, index: int, template: bytes, job_id: bytes, fencing_token: bytes) -> None:
        """Add a message, whose attributes `Message` describes; `flush` hands it to a poller that waits."""
        message = Message()
        message.ack_id = ack_id = next(self._ack_ids)
        message.transaction = transaction
        message.index = index
        message.template = template
        message.job_id = job_id
        message.fencing_token = fencing_token
        message.delivery = None
        transaction.pending += 1
        self._messages[ack_id] = message
        self._ready.append(message)
        budget = self._budget
        budget.messages += 1
        budget.bytes += len(job_id) + len(fencing_token) + OVERHEAD

    def flush(self) -> None:
        """Hand visible messages to waiting pollers, first come, first served."""
        pollers = self._pollers
        while pollers and self._ready:
            poller = pollers.popleft()
            if poller.future.done():
                continue
            batch = self.take(poller.limit)
            if batch:
                poller.future.set_result(batch)
            else:
                pollers.appendleft(poller)

    def take(self, limit: int) -> list[Message]:
        """Deliver up to `limit` visible messages, oldest first, and hide them."""
        ready = self._ready
        if not ready:
            return []
        loop = asyncio.get_running_loop()
        delivery = Delivery(loop.time() + self._timeout)
        batch = delivery.messages
        while ready and len(batch) < limit:
            message = ready.popleft()
            if message.ack_id:
                message.delivery = delivery
                batch.append(message)
        if batch:
            delivery.left = len(batch)
            self.delivered += len(batch)
            self._inflight.append(delivery)
            if self._timer is None:
                self._timer = loop.call_at(delivery.deadline, self._time_out)
        return batch.copy()

    async def receive(self, limit: int, wait: float) -> list[Message]:
        """Deliver up to `limit` messages.

        Args:
            limit: most messages to deliver.
            wait: seconds to wait for the first; 0: not at all.
        """
        batch = self.take(limit) if not self._pollers else []
        if batch or wait <= 0:
            return batch or self.take(limit)
        poller = _Poller(limit, asyncio.get_running_loop().create_future())
        self._pollers.append(poller)
        self.flush()
        try:
            async with asyncio.timeout(wait):
                return await poller.future
        except TimeoutError:
            return poller.future.result() if self._handed(poller) else []
        except asyncio.CancelledError:
            if self._handed(poller):
                self.give_back(poller.future.result())
            raise
        finally:
            if poller in self._pollers:
                self._pollers.remove(poller)

    @staticmethod
    def _handed(poller: _Poller) -> bool:
        return poller.future.done() and not poller.future.cancelled()

    def give_back(self, batch: Iterable[Message]) -> None:
        """Make messages visible at once that were delivered but did not reach their poller."""
        self._show(batch)

    def find(self, ack_ids: Iterable[str]) -> list[Message | None]:
        """Look up messages; None for an id that is unknown or acked."""
        get = self._messages.get
        return [get(ack_id.encode()) for ack_id in ack_ids]

    def ack(self, found: Iterable[Message | None]) -> None:
        """Forget messages; those that are unknown or already acked are ignored."""
        self.acked += self._forget(found)

    def clear(self) -> None:
        """Forget every message."""
        self.cleared += self._forget(list(self._messages.values()))
        self._ready.clear()

    def _forget(self, found: Iterable[Message | None]) -> int:
        messages = self._messages
        freed = number = 0
        for message in found:
            if message is None or not (ack_id := message.ack_id):
                continue
            if (delivery := message.delivery) is not None:
                delivery.left -= 1
            message.transaction.pending -= 1
            del messages[ack_id]
            freed += len(message.job_id) + len(message.fencing_token)
            message.ack_id = message.job_id = message.fencing_token = b""
            message.delivery = None
            number += 1
        inflight = self._inflight
        while inflight and not inflight[0].left:
            inflight.popleft()
        self._budget.release(number, freed + number * OVERHEAD)
        return number

    def nack(self, found: Iterable[Message | None]) -> None:
        """Make delivered messages visible at once."""
        self.nacked += self._show([message for message in found if message is not None])

    def stop(self) -> None:
        """Answer every waiting poller with nothing, and end the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.release_pollers()

    def release_pollers(self) -> None:
        """Answer every waiting poller with nothing."""
        while self._pollers:
            future = self._pollers.popleft().future
            if not future.done():
                future.set_result([])

    def _show(self, batch: Iterable[Message]) -> int:
        visible = []
        for message in batch:
            if message.delivery is not None and message.ack_id:
                message.delivery.left -= 1
                message.delivery = None
                visible.append(message)
        self.redelivered += len(visible)
        self._ready.extendleft(reversed(visible))
        self.flush()
        return len(visible)

    def _time_out(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        due: list[Message] = []
        inflight = self._inflight
        while inflight and (inflight[0].deadline <= now or not inflight[0].left):
            delivery = inflight.popleft()
            due += [message for message in delivery.messages if message.delivery is delivery]
        if inflight:
            self._timer = loop.call_at(inflight[0].deadline, self._time_out)
        self._show(due)
