"""Reports of the failures in dead letters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import RetryState
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec
from temporalio.exceptions import ApplicationError, TimeoutError, TimeoutType

from delegator.completion.failures import failed_outcome, failure_of
from delegator.errors import WireError
from delegator.maintenance.dead_letter_report import describe
from delegator.postgres.dead_letters import Content, DeadLetter
from delegator.wire.codec import decode_outcome, encode_outcome
from delegator.wire.outcomes import Outcome, OutcomeStatus

LETTER = DeadLetter(
    7, "default", "resize", "non_retryable", "Broken", "job", "ns", "wf", None, 3, datetime.now(UTC), datetime.now(UTC)
)


class Scramble(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"x"}, data=bytes(b ^ 0x5A for b in payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(bytes(b ^ 0x5A for b in payload.data)) for payload in payloads]


class Broken(Scramble):
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise RuntimeError("no key")


PLAIN = DataConverter.default
SCRAMBLED = dataclasses.replace(PLAIN, payload_codec=Scramble())
ATTRIBUTES = dataclasses.replace(SCRAMBLED, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)


def raised(error: BaseException) -> BaseException:
    """The error with a stack trace and a cause."""
    try:
        try:
            raise KeyError("deep")
        except KeyError as deep:
            raise error from deep
    except BaseException as error:
        return error


async def encoded(error: BaseException, converter: DataConverter) -> bytes:
    failure = failure_of(raised(error), converter)
    state = RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE
    outcome = failed_outcome(failure, job_id="job", job_type="resize", identity="worker 1", retry_state=state)
    return await encode_outcome(outcome, converter.payload_codec)


async def described(error: BaseException, converter: DataConverter, **options: Any) -> dict[str, Any]:
    content = Content(await encoded(error, converter), None, None, None)
    return await describe(LETTER, content, converter, **options)


@pytest.mark.parametrize("converter", [PLAIN, SCRAMBLED, ATTRIBUTES])
async def test_failure_fields(converter: DataConverter) -> None:
    """A report shows the type, message, causes and stack traces of a failure, without its details."""
    error = ApplicationError("no pixels", "detail", type="Broken", non_retryable=True)
    failure = (await described(error, converter))["failure"]
    assert (failure["type"], failure["message"], failure["non_retryable"]) == ("Broken", "no pixels", True)
    assert (failure["retry_state"], failure["worker"]) == ("RETRY_STATE_NON_RETRYABLE_FAILURE", "worker 1")
    assert "in raised" in failure["stack_trace"]
    assert "details" not in failure
    (cause,) = failure["causes"]
    assert (cause["type"], cause["message"]) == ("KeyError", "'deep'")
    assert "in raised" in cause["stack_trace"]


async def test_details_only_when_asked_for() -> None:
    error = ApplicationError("no pixels", {"width": 0}, type="Broken")
    failure = (await described(error, SCRAMBLED, payloads=True))["failure"]
    assert failure["details"] == [{"encoding": "json/plain", "value": {"width": 0}}]
    timeout = TimeoutError("late", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[5])
    failure = (await described(timeout, PLAIN, payloads=True))["failure"]
    assert (failure["type"], failure["timeout"]) == ("TimeoutError", "TIMEOUT_TYPE_SCHEDULE_TO_CLOSE")
    assert failure["details"] == [{"encoding": "json/plain", "value": 5}]


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (PLAIN, "DELEGATOR_DATA_CONVERTER"),
        (dataclasses.replace(PLAIN, payload_codec=Broken()), "RuntimeError"),
    ],
)
async def test_wrong_converter(reader: DataConverter, said: str) -> None:
    """A report with the wrong data converter says so, and shows no payload."""
    stored = await encoded(ApplicationError("secret"), SCRAMBLED)
    with pytest.raises(WireError, match=said):
        await decode_outcome("failed", stored, reader.payload_codec)
    shown = await describe(LETTER, Content(stored, b"\xff", b"\xff", None), reader, payloads=True)
    assert shown["failure"] is None
    assert said in shown["unreadable_failure"]
    assert shown["input"] is None
    assert shown["unreadable_input"].startswith("the arguments can't be decoded: ")
    assert "secret" not in str(shown)


@pytest.mark.parametrize("stored", [b"", b"\xff\xff", b"\x0a\x03abc"])
async def test_garbage_is_a_wire_error(stored: bytes) -> None:
    with pytest.raises(WireError):
        await decode_outcome("failed", stored, None)


async def test_empty_outcome() -> None:
    """An outcome without a body decodes to itself."""
    outcome = Outcome(OutcomeStatus.COMPLETED, b"")
    assert await decode_outcome("completed", await encode_outcome(outcome, Scramble()), Scramble()) == outcome
