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
    await asyncio.wait_for(task, 1)


async def test_a_failure_ends_the_wait_of_a_group_that_stops_early():
    group = group_of(3, stop_early=True)
    task = await waiting(group)
    group.calls[1].resolve(FAILED)
    await asyncio.wait_for(task, 1)


async def test_a_failure_does_not_end_the_wait_of_one_that_does_not():
    group = group_of(2, stop_early=False)
    task = await waiting(group)
    group.calls[1].resolve(FAILED)
    await asyncio.sleep(0)
    assert not task.done()
    group.calls[0].resolve(DONE)
    await asyncio.wait_for(task, 1)


def test_results_are_read_as_they_come_and_what_cannot_be_read_is_told_when_it_is_asked_for():
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


async def test_a_group_that_could_not_be_enqueued_is_ready():
    group = group_of(2, stop_early=False)
    task = await waiting(group)
    first, second = ValueError("first"), ValueError("second")
    group.fail(first)
    group.fail(second)
    await asyncio.wait_for(task, 1)
    assert group.failure is first


async def test_a_cancelled_wait_can_be_taken_up_again():
    group = group_of(1, stop_early=True)
    task = await waiting(group)
    task.cancel()
    await asyncio.wait([task])
    again = await waiting(group)
    group.calls[0].resolve(DONE)
    await asyncio.wait_for(again, 1)


async def test_a_group_that_stops_early_keeps_the_failure_that_stopped_it():
    """A workflow task that is run again hears in one turn of the failure and of what was canceled for its sake."""
    group = group_of(2, stop_early=True)
    task = await waiting(group)
    group.calls[1].resolve(FAILED)
    group.calls[0].resolve(Outcome(OutcomeStatus.CANCELED, b""))
    await asyncio.wait_for(task, 1)
    assert group.first_failed is group.calls[1]
