"""The in-memory store: what was read from the WAL and is not acked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from secrets import randbits

from delegator.relay.progress import Transaction

OVERHEAD = 320
"""Bytes of memory that a buffered message takes beside its body."""


class AckIds:
    """Makes version 4 UUIDs: random bits drawn once for a process, and a counter that starts at random."""

    def __init__(self) -> None:
        head = randbits(74)
        text = f"{head:019x}"
        self._prefix = f"{text[:8]}-{text[8:12]}-4{text[12:15]}-{8 + (head & 3):x}{text[15:18]}-".encode()
        self._numbers = count(randbits(40))

    def __call__(self) -> bytes:
        """Return the next id, in canonical form."""
        return b"%b%012x" % (self._prefix, next(self._numbers))


class Delivery:
    """Messages handed out together, hidden until `deadline`; `left` counts those it still hides."""

    __slots__ = ("deadline", "left", "messages")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.messages: list[Message] = []
        self.left = 0


class Message:
    """A message with its whole JSON; `delivery` is None while it is visible. An acked one has no body."""

    __slots__ = ("ack_id", "body", "delivery", "transaction")

    def __init__(self, ack_id: bytes, body: bytes, transaction: Transaction) -> None:
        self.ack_id = ack_id
        self.body = body
        self.transaction = transaction
        self.delivery: Delivery | None = None


class Budget:
    """Bounds what is buffered of one queue."""

    def __init__(self, max_messages: int, max_bytes: int, low_water: float) -> None:
        self._max = max_messages, max_bytes
        self._low = int(max_messages * low_water), int(max_bytes * low_water)
        self.messages = 0
        self.bytes = 0
        self.on_room: Callable[[], None] | None = None

    @property
    def full(self) -> bool:
        """No further message may be read."""
        return self.messages >= self._max[0] or self.bytes >= self._max[1]

    def release(self, messages: int, size: int) -> None:
        """Give back room; tells a reader that waits when the low-water mark is passed."""
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
        self.name = name
        self.received = self.delivered = self.redelivered = self.acked = self.nacked = self.dropped = 0
        self.bytes = 0
        self._budget = budget
        self._timeout = visibility_timeout
        self._messages: dict[str, Message] = {}
        self._ready: deque[Message] = deque()
        self._inflight: deque[Delivery] = deque()
        self._pollers: deque[_Poller] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def pollers(self) -> int:
        """Requests that wait for a message."""
        return len(self._pollers)

    def put(self, message: Message) -> None:
        """Add a message; `flush` hands it to a poller that waits."""
        self._messages[str(message.ack_id, "ascii")] = message
        self._ready.append(message)
        size = len(message.body) + OVERHEAD
        self.received += 1
        self.bytes += size
        budget = self._budget
        budget.messages += 1
        budget.bytes += size

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
            if message.body:
                message.delivery = delivery
                batch.append(message)
        if batch:
            delivery.left = len(batch)
            self.delivered += len(batch)
            self._inflight.append(delivery)
            if self._timer is None:
                self._timer = loop.call_at(delivery.deadline, self._expire)
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
        """Make messages visible at once that did not reach their poller."""
        self._show(batch)

    def find(self, ack_ids: Iterable[str]) -> list[Message | None]:
        """Look up messages; None for an id that is unknown or acked.

        Raises:
            TypeError: an id can't be a dictionary's key.
        """
        get = self._messages.get
        return [get(ack_id) for ack_id in ack_ids]

    def ack(self, found: Iterable[Message | None]) -> None:
        """Forget messages; what is unknown or repeated is ignored."""
        messages = self._messages
        freed = number = 0
        for message in found:
            if message is None or not message.body:
                continue
            if (delivery := message.delivery) is not None:
                delivery.left -= 1
            message.transaction.pending -= 1
            del messages[str(message.ack_id, "ascii")]
            freed += len(message.body) + OVERHEAD
            message.body = b""
            number += 1
        self.acked += number
        self.bytes -= freed
        inflight = self._inflight
        while inflight and not inflight[0].left:
            inflight.popleft()
        self._budget.release(number, freed)

    def nack(self, found: Iterable[Message | None]) -> None:
        """Make delivered messages visible at once."""
        self.nacked += self._show([message for message in found if message is not None])

    def stop(self) -> None:
        """Answer every waiting poller with nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._pollers:
            future = self._pollers.popleft().future
            if not future.done():
                future.set_result([])

    def _show(self, batch: Iterable[Message]) -> int:
        visible = []
        for message in batch:
            if message.delivery is not None and message.body:
                message.delivery.left -= 1
                message.delivery = None
                visible.append(message)
        self.redelivered += len(visible)
        self._ready.extendleft(reversed(visible))
        self.flush()
        return len(visible)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        due: list[Message] = []
        inflight = self._inflight
        while inflight and (inflight[0].deadline <= now or not inflight[0].left):
            delivery = inflight.popleft()
            due += [message for message in delivery.messages if message.delivery is delivery]
        if inflight:
            self._timer = loop.call_at(inflight[0].deadline, self._expire)
        self._show(due)
