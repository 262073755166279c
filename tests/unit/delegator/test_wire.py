"""Requests, replies and signals are packed and unpacked; malformed bytes are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.common import RetryPolicy

from delegator.contracts import JobOptions
from delegator.errors import WireError
from delegator.wire.frames import pack, unpack
from delegator.wire.options import decode_options, encode_options
from delegator.wire.outcomes import (
    Outcome,
    OutcomeStatus,
    Reply,
    count_reply,
    pack_reply,
    pack_signal,
    unpack_reply,
    unpack_signal,
)
from delegator.wire.requests import (
    Asked,
    EnqueueRequest,
    JobRequest,
    JobSpec,
    asked_for,
    check_job_id,
    pack_cancel,
    pack_enqueue,
    runs,
    unpack_cancel,
    unpack_enqueue,
)
from delegator.wire.task_tokens import TaskToken, pack_task_token, unpack_task_token

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**31) | texts, lambda inner: st.lists(inner, max_size=3)
)
headers = st.dictionaries(texts.filter(lambda key: key != "sizes"), jsons, max_size=4)
bodies = st.lists(st.binary(max_size=40), max_size=6)
outcomes = st.builds(Outcome, st.sampled_from(OutcomeStatus), st.binary(max_size=40))
durations = st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=5000))

UNPACKERS: list[Callable[[bytes], Any]] = [
    unpack,
    unpack_enqueue,
    unpack_cancel,
    unpack_signal,
    unpack_reply,
    count_reply,
]


@given(headers, bodies)
def test_frames(header: dict[str, Any], parts: list[bytes]):
    assert unpack(pack(header, parts)) == (header, parts)


@given(headers, bodies, st.data())
def test_frame_length(header: dict[str, Any], parts: list[bytes], data: st.DataObject):
    """A frame that is cut or has bytes too many raises a WireError."""
    frame = pack(header, parts)
    cut = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(WireError):
        unpack(frame[:cut])
    with pytest.raises(WireError):
        unpack(frame + b"\0")


@given(st.binary(max_size=200))
def test_garbage_is_a_wire_error(garbage: bytes):
    for unpacker in UNPACKERS:
        with pytest.raises(WireError):
            unpacker(garbage)


@given(headers | jsons, bodies)
def test_frame_of_another_form(header: Any, parts: list[bytes]):
    """A valid frame with another content is read or raises a WireError, and no other error."""
    if isinstance(header, dict):
        frame = pack(header, parts)
    else:
        encoded = orjson.dumps(header)
        frame = len(encoded).to_bytes(4, "big") + encoded
    for unpacker in UNPACKERS:
        try:
            unpacker(frame)
        except WireError:
            continue


@pytest.mark.parametrize("sizes", [[2.0], [True, 1], ["2"], {"2": 2}, None, 2, [-1, 3], [3, -1]])
def test_malformed_sizes(sizes: Any):
    """Sizes in a header that are not sizes raise a WireError."""
    encoded = orjson.dumps({"sizes": sizes})
    with pytest.raises(WireError):
        unpack(len(encoded).to_bytes(4, "big") + encoded + b"xx")


counts = st.integers(1, 9)


def runs_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.tuples(values, counts), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> EnqueueRequest:
    option_dicts = st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9), max_size=2)
    kinds = draw(st.lists(st.builds(JobSpec, texts, texts, option_dicts), min_size=1, max_size=3))
    job = st.builds(
        JobRequest, st.sampled_from(kinds), st.binary(max_size=20), st.binary(max_size=5), st.none() | texts
    )
    jobs = draw(st.lists(job, min_size=1, max_size=8))
    first = draw(st.integers(0, 10))
    gaps = draw(st.lists(st.integers(1, 3), min_size=len(jobs) - 1, max_size=len(jobs) - 1))
    sequences = [first]
    for gap in gaps:
        sequences.append(sequences[-1] + gap)
    calls = draw(st.none() | runs_of(counts))
    began_at = draw(st.none() | st.floats(0, 2**40))
    return EnqueueRequest(jobs, sequences, draw(st.integers(0, 2**22)), began_at, calls, draw(st.booleans()))


@given(requests())
def test_enqueue_requests(request: EnqueueRequest):
    read = unpack_enqueue(pack_enqueue(request))
    assert read.jobs == request.jobs
    assert list(read.sequences) == request.sequences
    assert read.reply_bytes == request.reply_bytes
    assert read.call_runs == request.call_runs
    assert (read.task_began_at, read.again) == (request.task_began_at, request.again)


def test_asked_for():
    """Types and queues are counted as runs, however many specs the jobs have."""
    specs = [JobSpec(*spec, None) for spec in (("a", "q"), ("a", "q"), ("a", "r"), ("b", "r"), ("a", "q"))]
    asked = asked_for([specs[0], *specs], [(6, 1)])
    assert asked == Asked([("a", 4), ("b", 1), ("a", 1)], [("q", 3), ("r", 2), ("q", 1)], [(6, 1)])


@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_cancel_requests(jobs: list[tuple[str, str]]):
    assert unpack_cancel(pack_cancel(jobs)) == jobs


@given(st.lists(st.tuples(texts, outcomes), max_size=6))
def test_signals(outcomes: list[tuple[str, Outcome]]):
    assert unpack_signal(pack_signal(outcomes)) == outcomes


@given(texts, st.lists(st.none() | outcomes, max_size=8), st.none() | runs_of(texts), st.none() | runs_of(counts))
def test_replies(
    prefix: str,
    outcomes: list[Outcome | None],
    queues: list[tuple[str, int]] | None,
    calls: list[tuple[int, int]] | None,
):
    known = {position: outcome for position, outcome in enumerate(outcomes) if outcome is not None}
    asked = Asked(runs("ab"[position % 3 // 2] for position in range(len(outcomes))), queues, calls)
    reply = pack_reply(prefix, known, asked)
    assert unpack_reply(reply) == Reply(prefix, outcomes, asked)
    watched = pack_reply(prefix, known, asked, look_ms=60_000, is_searchable=True)
    waits = None in outcomes
    expected = Reply(prefix, outcomes, asked, 60_000 if waits else None, is_searchable=waits, asks_at_deadline=waits)
    assert unpack_reply(watched) == expected
    assert (watched == reply) is (None not in outcomes)
    assert count_reply(reply) == (len(outcomes), len(known))


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=draw(st.timedeltas(timedelta(0), timedelta(days=30))),
        backoff_coefficient=draw(st.floats(1, 100)),
        maximum_interval=draw(st.none() | st.timedeltas(timedelta(milliseconds=1), timedelta(days=30))),
        maximum_attempts=draw(st.integers(0, 1000)),
        non_retryable_error_types=draw(st.none() | st.lists(texts, min_size=1, max_size=3)),
    )


def rounded_up(duration: timedelta | None) -> timedelta | None:
    return None if duration is None else timedelta(milliseconds=-(-duration // timedelta(milliseconds=1)))


@given(durations, durations, durations, durations, st.none() | policies())
def test_options(
    start_to_close: timedelta | None,
    schedule_to_close: timedelta | None,
    heartbeat: timedelta | None,
    inline_wait: timedelta | None,
    policy: RetryPolicy | None,
):
    options = JobOptions(
        start_to_close_timeout=start_to_close,
        schedule_to_close_timeout=schedule_to_close,
        heartbeat_timeout=heartbeat,
        retry_policy=policy,
        inline_wait=inline_wait,
    )
    encoded = encode_options(options)
    read = decode_options(None if encoded is None else orjson.dumps(encoded).decode())
    assert read.start_to_close_timeout == rounded_up(start_to_close)
    assert read.schedule_to_close_timeout == rounded_up(schedule_to_close)
    assert read.heartbeat_timeout == rounded_up(heartbeat)
    assert read.inline_wait == rounded_up(inline_wait)
    if policy is None:
        assert read.retry_policy is None
    else:
        found = read.retry_policy or RetryPolicy()
        assert found.initial_interval == rounded_up(policy.initial_interval)
        assert found.maximum_interval == rounded_up(policy.maximum_interval)
        assert (found.backoff_coefficient, found.maximum_attempts, found.non_retryable_error_types) == (
            policy.backoff_coefficient,
            policy.maximum_attempts,
            policy.non_retryable_error_types,
        )


def test_huge_timeout():
    """A huge timeout is cut to what the database can store."""
    encoded = encode_options(JobOptions(schedule_to_close_timeout=timedelta.max))
    assert encoded is not None and timedelta(milliseconds=encoded["schedule_to_close_ms"]) <= timedelta(days=365_000)


def test_default_options():
    """Options that are all defaults are not stored."""
    assert encode_options(JobOptions(retry_policy=RetryPolicy())) is None


@pytest.mark.parametrize(
    "encoded",
    [
        '{"heartbeat_ms": "x"}',
        '{"retry": 3}',
        '{"retry": {"maximum_attempts": "many"}}',
        '{"heartbeat_ms": 1e300}',
        "7",
        "{",
    ],
)
def test_options_of_the_wrong_type(encoded: str):
    with pytest.raises(WireError):
        decode_options(encoded)


@pytest.mark.parametrize("job_id", ["a", "order 7, line 3", "\N{SNOWMAN}" * 166, "x" * 500])
def test_job_ids(job_id: str):
    check_job_id(job_id)


@pytest.mark.parametrize("job_id", ["", "a\0", "a\nb", "x" * 501, "\N{SNOWMAN}" * 167])
def test_bad_job_ids(job_id: str):
    """A job id of a wrong length or with control characters is refused."""
    with pytest.raises(ValueError, match="a job id has 1 to 500 bytes"):
        check_job_id(job_id)


def test_task_tokens():
    """A token names an attempt. Temporal's own tokens are told apart, and those of a later release are refused."""
    token = TaskToken("default", "run:7", 9)
    packed = pack_task_token(token)
    assert unpack_task_token(packed) == token
    assert unpack_task_token(b"\n\x04abcd") is None
    with pytest.raises(WireError, match="format version 2"):
        unpack_task_token(packed.replace(b"[1,", b"[2,"))
    with pytest.raises(WireError, match="damaged"):
        unpack_task_token(packed[:-2])
