"""The handle of a delegated activity call."""

from __future__ import annotations

import asyncio
import sys
from contextvars import Context
from types import FrameType
from typing import Any, TextIO

from temporalio import workflow
from temporalio.workflow import ActivityCancellationType

from delegator.wire.requests import JobRequest
from delegator.workflow.calls import WITHDRAWN, Call, CallSpec, canceled_error
from delegator.workflow.delegations import Delegations


class DelegatedHandle(workflow.ActivityHandle[Any]):
    """An activity handle whose activity is a delegated job.

    Temporal's own handles are tasks. This one is a task by its type only: the outcome resolves it, as it resolves a
    future. A coroutine, with its turns of the event loop, would double the time of a `gather` of thousands. So the
    task's own `__init__` is left out, and every method that needs a coroutine is replaced.
    """

    __slots__ = ("_call", "_cancels", "_delegations", "_ends_canceled", "_name")

    def __init__(self, delegations: Delegations, spec: CallSpec, request: JobRequest) -> None:
        """Submit the call.

        Args:
            delegations: of the workflow run.
            spec: of the call.
            request: the job.
        """
        asyncio.Future.__init__(self, loop=asyncio.get_running_loop())
        self._delegations = delegations
        self._call = Call(spec, request, self)
        self._cancels = 0
        self._name: str | None = None
        self._ends_canceled = False
        delegations.submit(self._call)

    def add(self, call: Call) -> None:
        """See `Caller`."""

    def resolved(self, call: Call) -> None:
        """See `Caller`."""
        if self.done():
            return
        if self._ends_canceled:
            self.fail(canceled_error(call))
            return
        try:
            result = self._delegations.converter.result(call)
        except Exception as error:
            self.fail(error)
        else:
            asyncio.Future.set_result(self, result)

    def fail(self, failure: BaseException) -> None:
        """See `Caller`."""
        if not self.done():
            asyncio.Future.set_exception(self, failure)

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the call, as Temporal's handle does.

        With TRY_CANCEL the call ends as canceled, whatever its job does. So a quick job does not swallow the
        cancellation. The call ends when the request to cancel the job is stored: a workflow may end right after it.
        """
        if self.done():
            return False
        self._cancels += 1
        call = self._call
        if call.sent is None:
            call.outcome = call.outcome or WITHDRAWN
            return asyncio.Future.cancel(self, msg)
        if call.spec.cancellation_type is ActivityCancellationType.ABANDON:
            self.fail(canceled_error(call))
            return True
        self._ends_canceled = call.spec.cancellation_type is ActivityCancellationType.TRY_CANCEL
        self._delegations.ask_to_cancel(call, self.get_loop()).add_done_callback(self._asked)
        return True

    def _asked(self, asked: asyncio.Future[None]) -> None:
        if asked.cancelled():  # the workflow is evicted
            asyncio.Future.cancel(self)
        elif self._ends_canceled:
            self.fail(canceled_error(self._call))

    def cancelling(self) -> int:
        """See `asyncio.Task`."""
        return self._cancels

    def uncancel(self) -> int:
        """See `asyncio.Task`. A cancellation that was requested stays requested."""
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    def get_name(self) -> str:
        """See `asyncio.Task`."""
        return self._name or f"activity: {self._call.spec.job.type}"

    def set_name(self, value: object) -> None:
        """See `asyncio.Task`."""
        self._name = str(value)

    def get_coro(self) -> Any:
        """See `asyncio.Task`. There is none."""

    def get_context(self) -> Context:
        """See `asyncio.Task`."""
        return Context()

    def get_stack(self, *, limit: int | None = None) -> list[FrameType]:
        """See `asyncio.Task`."""
        return []

    def print_stack(self, *, limit: int | None = None, file: TextIO | None = None) -> None:
        """See `asyncio.Task`."""
        print(repr(self), file=file or sys.stderr)

    def __repr__(self) -> str:
        """Return the state and the name."""
        state = "cancelled" if self.cancelled() else "finished" if self.done() else "pending"
        return f"<{type(self).__name__} {state} name={self.get_name()!r}>"
