"""Outcomes are encoded and decoded, and failures are cut to a size that Temporal accepts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError, CancelledError

from delegator.completion.failures import MAX_OUTCOME_BYTES, Ending, failed_outcome, failure_of, within_limit
from delegator.errors import WireError
from delegator.wire.codec import decode_outcome, decode_payloads, encode_outcome, encode_payloads
from delegator.wire.outcomes import Outcome, OutcomeStatus
from tests.integration.delegator.encryption import EncryptionCodec

CODECS: list[PayloadCodec | None] = [None, EncryptionCodec()]
texts = st.text(min_size=8, max_size=40)


def payloads(text: str) -> bytes:
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=text.encode())]).SerializeToString()


@pytest.mark.parametrize("codec", CODECS)
@given(text=texts, status=st.sampled_from(OutcomeStatus))
async def test_outcome_round_trip(codec: PayloadCodec | None, text: str, status: OutcomeStatus):
    """An encoded outcome decodes to itself, and a codec makes its text unreadable."""
    body = payloads(text) if status is OutcomeStatus.COMPLETED else Failure(message=text).SerializeToString()
    outcome = Outcome(status, body)
    encoded = await encode_outcome(outcome, codec)
    assert await decode_outcome(status.value, encoded, codec) == outcome
    assert (text.encode() in encoded) is (codec is None)


@pytest.mark.parametrize("codec", CODECS)
async def test_arguments_come_back(codec: PayloadCodec | None):
    data = payloads("something")
    assert await decode_payloads(await encode_payloads(data, codec), codec) == data
    assert await encode_payloads(b"", codec) == b""


@pytest.mark.parametrize(
    ("status", "stored"), [("failed", b"\xff\xff"), ("failed", b""), ("odd", b""), ("canceled", b"\xff")]
)
@pytest.mark.parametrize("codec", CODECS)
async def test_malformed_outcome(codec: PayloadCodec | None, status: str, stored: bytes):
    """Bytes that are not an encoded outcome raise a WireError."""
    with pytest.raises(WireError):
        await decode_outcome(status, stored, codec)


def outcome_of(error: BaseException, ending: Ending = Ending.FAILED) -> Outcome:
    return failed_outcome(
        failure_of(error, DataConverter.default),
        job_id="j",
        job_type="t",
        identity="i",
        retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
        ending=ending,
    )


def test_failure_form():
    """A failed outcome has the form of an activity failure."""
    outcome = outcome_of(ApplicationError("m", 1, type="T"))
    failure = Failure.FromString(outcome.body)
    assert outcome.status is OutcomeStatus.FAILED
    assert failure.activity_failure_info.activity_type.name == "t"
    assert (failure.cause.message, failure.cause.application_failure_info.type) == ("m", "T")
    assert outcome_of(CancelledError("Cancelled"), Ending.CANCELED).status is OutcomeStatus.CANCELED


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_failure_limit(size: int):
    """A failure within the limit is unchanged; a larger one becomes the cause of the server's, without details."""
    error = ApplicationError("m" * 100, "x" * size, type="T", non_retryable=True)
    failure = failure_of(error, DataConverter.default)
    sent = within_limit(failure)
    assert sent.ByteSize() <= MAX_OUTCOME_BYTES
    assert (sent == failure) is (size == 10)
    if size != 10:
        assert (sent.message, sent.server_failure_info.non_retryable) == ("Failure exceeds size limit.", True)
        failure.application_failure_info.ClearField("details")
        assert sent.cause == failure
