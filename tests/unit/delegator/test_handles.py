"""A handle is a task whose coroutine does not exist. No method of a task may need one."""

from __future__ import annotations

import asyncio
import io
from typing import Any, cast

import pytest
from temporalio.workflow import ActivityCancellationType, ActivityHandle

from delegator.wire.requests import JobRequest, JobSpec
from delegator.workflow.calls import Call, CallSpec
from delegator.workflow.delegations import Delegations
from delegator.workflow.handles import DelegatedHandle

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "add_done_callback": (lambda _: None,),
    "remove_done_callback": (lambda _: None,),
    "set_name": ("mine",),
}
RAISES = {"result", "exception", "set_result", "set_exception"}


class Submitted:
    """Takes calls, as the delegations of a run do."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def submit(self, call: Call) -> None:
        self.calls.append(call)


def new_handle() -> DelegatedHandle:
    job = JobSpec("charge", "default", None)
    spec = CallSpec(job, None, ActivityCancellationType.TRY_CANCEL)
    return DelegatedHandle(cast(Delegations, Submitted()), spec, JobRequest(job, b"", b"", None))


async def test_every_method_of_a_task():
    """Each can be called while the handle is pending. Those of the C class would read what is not there."""
    for name in sorted(set(dir(asyncio.Task)) - set(dir(object))):
        if name.startswith("__") or name in RAISES:
            continue
        handle = new_handle()
        value = getattr(handle, name)
        if callable(value) and not name.startswith("_"):
            value(*ARGUMENTS.get(name, ()))
    handle = new_handle()
    handle.print_stack(file=(printed := io.StringIO()))
    assert printed.getvalue() == f"{handle!r}\n" == "<DelegatedHandle pending name='activity: charge'>\n"
    assert isinstance(handle, asyncio.Task) and isinstance(handle, ActivityHandle)
    for name in RAISES:
        with pytest.raises((asyncio.InvalidStateError, RuntimeError)):
            getattr(handle, name)(*([None] if name.startswith("set_") else []))


async def test_cancellation_before_the_call_is_sent():
    handle = new_handle()
    assert handle.cancel("never mind")
    with pytest.raises(asyncio.CancelledError, match="never mind"):
        await handle
    assert handle.cancelled() and not handle.cancel()
    assert repr(handle) == "<DelegatedHandle cancelled name='activity: charge'>"
