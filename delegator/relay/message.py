"""One message of a stream, and the JSON of a batch of them.

A message keeps only what its row and its transaction differ in from others, and is rendered when it is delivered: a
backlog then takes a fraction of the memory that its JSON would.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache

from delegator.relay.pgoutput import EPOCH
from delegator.relay.progress import Transaction


class Delivery:
    """Messages handed out together, hidden until `deadline`; `left` counts those it still hides."""

    __slots__ = ("deadline", "left", "messages")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.messages: list[Message] = []
        self.left = 0


class Message:
    """A message that is buffered; `delivery` is None while it is visible. An acked one has no `ack_id`.

    Whoever makes one sets every attribute: this is done for each row, and a call would be a tenth of all its cost.
    """

    __slots__ = ("ack_id", "delivery", "index", "key", "rest", "template", "transaction")

    ack_id: bytes
    """A UUID in canonical form."""
    transaction: Transaction
    """Inserted the row."""
    index: int
    """Of the row within its transaction."""
    template: bytes
    """What `Renderer.template` says of the row's table."""
    key: bytes
    """What fills the template's places for the key; see `Renderer.record`."""
    rest: bytes
    """What fills its place for the rest of the row."""
    delivery: Delivery | None
    """The delivery that hides it."""


def answer(batch: Iterable[Message]) -> bytes:
    """Render the answer to `receive`; what was acked meanwhile is left out."""
    return b'{"data":[%b]}' % b",".join(render(batch))


def render(batch: Iterable[Message]) -> list[bytes]:
    """Render messages that are not acked, each as it stands in the answer to `receive`."""
    rendered: list[bytes] = []
    add, encode = rendered.append, b2a_base64
    transaction: Transaction | None = None
    stamp = remainder = b""
    for message in batch:
        if not (ack_id := message.ack_id):
            continue
        if message.transaction is not transaction:
            transaction = message.transaction
            stamp, remainder = _stamp(transaction)
        index = b"%d" % message.index
        key = message.key
        add(message.template % (ack_id, key, message.rest, stamp, encode(remainder + index, newline=False), index, key))
    return rendered


def _stamp(transaction: Transaction) -> tuple[bytes, bytes]:
    """Render what all messages of a transaction share, up to the part of the idempotency key that they share.

    Returns:
        That, and what is to be encoded as base64 in front of the index: three bytes become four characters, so the
        shared part ends at a multiple of three.
    """
    lsn = transaction.commit_lsn
    shared = b"%d:" % lsn
    whole = len(shared) // 3 * 3
    seconds, micros = divmod(transaction.micros, 1_000_000)
    encoded = b2a_base64(shared[:whole], newline=False)
    stamp = b'"%b.%06dZ","commit_lsn":%d,"idempotency_key":"%b' % (_second(seconds), micros, lsn, encoded)
    return stamp, shared[whole:]


@lru_cache(maxsize=16)
def _second(seconds: int) -> bytes:
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").encode()
