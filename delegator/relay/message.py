"""One message of a stream, and the JSON of a batch of them, byte for byte as Sequin writes it.

A message keeps only what differs from row to row and from transaction to transaction. It is rendered when it is
delivered: a backlog then takes a fraction of the memory that its JSON would.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from orjson import dumps

from delegator.relay.pgoutput import EPOCH
from delegator.relay.progress import Transaction
from delegator.relay.source import Source

_TEMPLATE: Final = (
    b'{"ack_id":"%%b","data":{"record":{"job_id":"%%b","fencing_token":%%b},"changes":null,"action":"insert",'
    b'"metadata":%b,"commit_timestamp":%%b%%b","commit_idx":%%b,"record_pks":["%%b"]}}}'
)


class Delivery:
    """Messages delivered together, hidden until `deadline`; `left` counts those that it still hides."""

    __slots__ = ("deadline", "left", "messages")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.messages: list[Message] = []
        self.left = 0


class Message:
    """A buffered message. `delivery` is None while it is visible; an acked message has no `ack_id`.

    It has no constructor: whoever makes a message sets every attribute. One is made for each row, and the call would
    be a tenth of the row's whole cost.
    """

    __slots__ = ("ack_id", "delivery", "fencing_token", "index", "job_id", "template", "transaction")

    ack_id: bytes
    """A UUID in canonical form."""
    transaction: Transaction
    """Inserted the row."""
    index: int
    """The row's place within its transaction."""
    template: bytes
    """What `message_template` returned for the row's table."""
    job_id: bytes
    """The row's `job_id` as `json_text` renders it."""
    fencing_token: bytes
    """The row's `fencing_token`, a number in text form."""
    delivery: Delivery | None
    """The delivery that hides it."""


def message_template(source: Source) -> bytes:
    """Render what is the same in all messages of a stream.

    Returns:
        The JSON of a message, with places for its ack_id, its job's id, the fencing token, the transaction's part, the
        rest of the idempotency key, the index within the transaction, and the job's id again.
    """
    metadata = {
        "table_schema": source.schema,
        "table_name": source.table,
        "database_name": source.database,
        "transaction_annotations": None,
        "enrichment": None,
        "consumer": {
            "id": str(uuid5(NAMESPACE_URL, f"delegator:stream:{source.table}")),
            "name": source.table,
            "annotations": {},
        },
        "database": {
            "id": str(uuid5(NAMESPACE_URL, f"delegator:database:{source.host}/{source.database}")),
            "name": source.database,
            "annotations": {},
            "database": source.database,
            "hostname": source.host,
        },
    }
    return _TEMPLATE % dumps(metadata)[:-1].replace(b"%", b"%%")


def json_text(text: bytes) -> bytes:
    """Render text as a JSON string without its quotes; bytes that are not UTF-8 are replaced."""
    # The slice gives back most of the kilobyte that each of orjson's results occupies.
    return dumps(str(text, "utf-8", "replace"))[1:-1]


def answer(batch: Iterable[Message]) -> bytes:
    """Render the answer to `receive`, without the messages that were acked meanwhile."""
    return b'{"data":[%b]}' % b",".join(render(batch))


def render(batch: Iterable[Message]) -> list[bytes]:
    """Render the messages that are not acked, each as it stands in the answer to `receive`."""
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
        key = encode(remainder + index, newline=False)
        job_id = message.job_id
        add(message.template % (ack_id, job_id, message.fencing_token, stamp, key, index, job_id))
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
