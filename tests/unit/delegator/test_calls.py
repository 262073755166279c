"""Calls that one caller waits for together."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.message import DecodeError
from temporalio.converter import DataConverter
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityCancellationType

from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.requests import JobRequest, JobSpec
from delegator.workflow.calls import Call, CallGroup, CallSpec, Converter

DONE = Outcome(OutcomeStatus.COMPLETED, b"")
FAILED = Outcome(OutcomeStatus.FAILED, b"")


def group_of(count: int, *, stop_early: bool, converter: Converter | None = None) -> CallGroup:
    group = CallGroup(stop_early=stop_early, converter=converter)
    kind = JobSpec("t", "default", None)
    spec = CallSpec(kind, None, ActivityCancellationType.TRY_CANCEL)
    for _ in range(count):
        group.add(Call(spec, JobRequest(kind, b"", b"", None), group))
    return group


async def waiting(group: CallGroup) -> asyncio.Task[None]:
    task = asyncio.create_task(group.wait())
    await asyncio.sleep(0)
    return task


async def test_an_empty_group_is_ready():
    await group_of(0, stop_early=True).wait()


@pytest.mark.parametrize("stop_early", [True, False])
async def test_a_group_waits_for_every_call(stop_early: bool):
    group = group_of(3, stop_early=stop_early)
    task = await waiting(group)
    for call in group.calls:
        assert not task.done()
        call.resolve(DONE)
        await asyncio.sleep(0)
    await asyncio.wait_for(task, 60)


async def test_stop_early():
    """A failure ends the wait of a group that stops early."""
    group = group_of(3, stop_early=True)
    task = await waiting(group)
    group.calls[1].resolve(FAILED)
    await asyncio.wait_for(task, 60)


async def test_wait_for_all():
    """A failure does not end the wait of a group that waits for all its calls."""
    group = group_of(2, stop_early=False)
    task = await waiting(group)
    group.calls[1].resolve(FAILED)
    await asyncio.sleep(0)
    assert not task.done()
    group.calls[0].resolve(DONE)
    await asyncio.wait_for(task, 60)


def test_unreadable_result():
    """A result is decoded when it arrives; the error of one that can't be decoded is raised when it is asked for."""
    default = DataConverter.default
    converter = Converter(default.payload_converter, default.failure_converter, is_default=True)
    group = group_of(3, stop_early=False, converter=converter)
    read, unreadable, failed = group.calls
    read.resolve(Outcome(OutcomeStatus.COMPLETED, converter.input([7])))
    unreadable.resolve(Outcome(OutcomeStatus.COMPLETED, b"no payloads"))
    failed.resolve(FAILED)
    assert read.result == 7
    assert converter.result(read) == 7
    with pytest.raises(DecodeError):
        converter.result(unreadable)
    with pytest.raises(ActivityError):
        converter.result(failed)


async def test_enqueue_fails():
    """The wait of a group ends with the first error of its enqueueing."""
    group = group_of(2, stop_early=False)
    task = await waiting(group)
    first, second = ValueError("first"), ValueError("second")
    group.fail(first)
    group.fail(second)
    await asyncio.wait_for(task, 60)
    assert group.failure is first


async def test_wait_again():
    """A group can be awaited again after its wait was cancelled."""
    group = group_of(1, stop_early=True)
    task = await waiting(group)
    task.cancel()
    await asyncio.wait([task])
    again = await waiting(group)
    group.calls[0].resolve(DONE)
    await asyncio.wait_for(again, 60)


async def test_first_failure():
    """The first failure counts, although the cancellations that it caused arrive before the group wakes."""
    group = group_of(2, stop_early=True)
    task = await waiting(group)
    group.calls[1].resolve(FAILED)
    group.calls[0].resolve(Outcome(OutcomeStatus.CANCELED, b""))
    await asyncio.wait_for(task, 60)
    assert group.first_failed is group.calls[1]
