"""Codecs, headers, probes and data converters: what is told in words, and what costs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from delegator_schema.options import CODEC_PROBE
from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    PayloadCodec,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
)
from temporalio.exceptions import ApplicationError

from delegator.completion.failures import Ending, failed_outcome, failure_of
from delegator.enqueue.payloads import encode_call, frame_in
from delegator.errors import ConfigurationError, WireError
from delegator.wire.codec import decode_header, decode_outcome, encode_header, encode_outcome
from delegator.wire.contexts import Conversions, row_origin, uses_contexts
from delegator.wire.frames import from_payload, require_raw_values, to_payload
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.probe import ProbeReader, make_probe
from delegator.wire.requests import task_job_id
from delegator.wire.values import ValueConverter
from tests.integration.delegator.bound_converters import bound, stored
from tests.integration.delegator.encryption import converter as encrypted
from tests.integration.delegator.encryption import other_key

SECRET = b"correct-horse"
HEADER = Header(fields={"user": Payload(metadata={"encoding": b"binary/plain"}, data=SECRET)}).SerializeToString()


class Broken(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise OSError("no key")

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise OSError("no key")


class Picky(PayloadConverter):
    """A payload converter that knows no raw values."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"picky"}, data=str(value).encode()) for value in values]

    def from_payloads(self, payloads: Sequence[Payload], type_hints: Any = None) -> list[Any]:
        return [payload.data for payload in payloads]


class BrokenFailures(DefaultFailureConverter):
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        raise KeyError("no such error")


async def test_header_is_unreadable():
    """A header is stored encoded as a whole, and comes back; one that is not encoded is passed on."""
    codec = encrypted.payload_codec
    encoded = await encode_header(HEADER, codec)
    assert SECRET not in encoded and b"user" not in encoded
    assert await decode_header(encoded, codec) == HEADER
    assert await decode_header(HEADER, codec) == await encode_header(HEADER, None) == HEADER
    for wrong in (None, other_key.payload_codec):
        with pytest.raises(WireError, match="DELEGATOR_DATA_CONVERTER"):
            await decode_header(encoded, wrong)


async def test_probe():
    """A codec reads its own probe, and nothing else does. Rows without a probe are not checked."""
    probe = await make_probe(encrypted.payload_codec)
    options = orjson.dumps({CODEC_PROBE: probe}).decode()
    assert await ProbeReader(encrypted.payload_codec).problem(options) is None
    for wrong, words in ((None, "has none"), (other_key.payload_codec, "same keys"), (Broken(), "OSError")):
        assert words in str(await ProbeReader(wrong).problem(options))
        assert await ProbeReader(wrong).problem(None) is None
        assert await ProbeReader(wrong).problem('{"retry": {}}') is None
    for codec in (None, Broken(), bound.payload_codec):  # the last one encodes nothing without a context
        assert await make_probe(codec) is None


@pytest.mark.parametrize("wrap", [False, True])
async def test_failure_that_the_codec_refuses(wrap: bool):
    """A failure that can't be encoded is stored as another one, without what the codec would hide."""
    failure = failure_of(ApplicationError("secret", type="T"), DataConverter.default)
    outcome = Outcome(OutcomeStatus.FAILED, failure.SerializeToString())
    if wrap:
        outcome = failed_outcome(failure, job_id="j", job_type="t", identity="i", retry_state=1, ending=Ending.FAILED)
    encoded = await encode_outcome(outcome, Broken())
    assert b"secret" not in encoded
    for codec in (Broken(), None, encrypted.payload_codec):
        read = Failure.FromString((await decode_outcome("failed", encoded, codec)).body)
        assert (read.cause if wrap else read).message == "Failed building exception result: no key"


def test_failure_converter_breaks():
    failure = failure_of(ValueError("v"), DataConverter(failure_converter_class=BrokenFailures))
    assert failure.message == "Failed building exception result: 'no such error'"
    assert failure.HasField("application_failure_info")


async def test_call_that_can_not_be_encoded():
    """It fails the workflow task, in words, and is not retried by the local activity."""
    data = Payloads(payloads=[Payload(data=b"x")]).SerializeToString()
    with pytest.raises(ApplicationError, match=r"charge.*OSError: no key") as raised:
        await encode_call(data, b"", Broken(), "charge")
    assert raised.value.non_retryable


async def test_frame_of_another_converter():
    (payload,) = await encrypted.payload_codec.encode([to_payload(b"frame")])  # type: ignore[union-attr]
    with pytest.raises(WireError, match=r"binary/encrypted.*DELEGATOR_DATA_CONVERTER"):
        from_payload(payload)
    with pytest.raises(ApplicationError, match="DELEGATOR_DATA_CONVERTER"):
        frame_in(RawValue(payload))


def test_raw_values():
    """A payload converter that changes raw values is refused by name when a worker is made."""
    for fine in (DataConverter.default, encrypted, pydantic_data_converter):
        require_raw_values(fine)
    with pytest.raises(ConfigurationError, match=r"Picky.*CompositePayloadConverter"):
        require_raw_values(DataConverter(payload_converter_class=Picky))


def test_reference_without_storage():
    """What an external storage has left in the place of a payload is no argument."""
    reference = Payload(
        metadata={"encoding": b"json/protobuf", "messageType": b"temporal.api.sdk.v1.ExternalStorageReference"},
        data=b"{}",
    )
    values = ValueConverter(DataConverter.default.payload_converter, is_default=True)
    with pytest.raises(WireError, match="TMPRL1105"):
        values.decode(Payloads(payloads=[reference]).SerializeToString(), None)


class Bound(DefaultFailureConverter, WithSerializationContext):
    def with_context(self, context: SerializationContext) -> Bound:
        return self


@pytest.mark.parametrize(
    ("converter", "expected"),
    [
        (DataConverter.default, False),
        (pydantic_data_converter, False),
        (encrypted, False),
        (bound, True),
        (dataclasses.replace(bound, payload_codec=None), True),
        (DataConverter(failure_converter_class=Bound), True),
        (stored, True),
    ],
)
def test_who_uses_contexts(converter: DataConverter, expected: bool):
    """Converters that use no context share one conversion."""
    assert uses_contexts(converter) is Conversions(converter).uses_contexts is expected


@pytest.mark.parametrize(
    ("job_id", "workflow_id", "run_id", "expected"),
    [
        (task_job_id("r1", "a:1", 2), None, None, "r1"),
        ("plain", None, None, None),
        ("r2:0", "w", "r2", "r2"),
    ],
)
def test_run_that_a_storage_is_told(job_id: str, workflow_id: str | None, run_id: str | None, expected: str | None):
    """An activity without a workflow has a run, too. Its job's id names it."""
    origin = row_origin(
        job_id=job_id, job_type="t", namespace="n", workflow_id=workflow_id, run_id=run_id, options=None
    )
    assert origin.run_id == expected
