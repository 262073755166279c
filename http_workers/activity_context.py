"""Runs handlers as Temporal's activities: `activity.info()`, `activity.heartbeat()` and the like work in them.

The SDK has no public way to run a function as an activity outside its own worker: its context is private, and the
`ActivityEnvironment` for tests neither tells a thread in time nor takes interceptors.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.activity import ActivityCancellationDetails
from temporalio.client import Client
from temporalio.common import MetricMeter, _CompositeEvent
from temporalio.converter import PayloadConverter
from temporalio.exceptions import CancelledError

from http_workers.threads import ThreadRaiser


@dataclass(frozen=True, slots=True)
class ActivitySurroundings:
    """What all activities of a worker have in common."""

    payload_converter: PayloadConverter
    """For `activity.payload_converter()`."""
    client: Client | None
    """For `activity.client()`; None: there is none."""
    metric_meter: MetricMeter
    """For `activity.metric_meter()`."""
    shutdown: _CompositeEvent
    """Set when the worker begins to stop. A worker uses it in one event loop."""


class _Context(activity._Context):
    """The context of an `async def`, which tells that the handler has asked for the client."""

    asked: Callable[[], None] | None = None
    """Called when the handler asks."""
    _client: Client | None = None

    @property
    def client(self) -> Client | None:
        """For `activity.client()`."""
        if self.asked is not None:
            self.asked()
        return self._client

    @client.setter
    def client(self, client: Client | None) -> None:
        self._client = client


class RunningActivity:
    """The activity context of one attempt, and what tells its handler to stop."""

    __slots__ = ("_cancelled", "_details", "context", "raiser")

    def __init__(
        self,
        surroundings: ActivitySurroundings,
        info: Callable[[], activity.Info],
        heartbeat: Callable[..., None],
        *,
        asked_for_client: Callable[[], None] | None = None,
        is_async: bool,
        throws: bool,
    ) -> None:
        """Prepare the context; `activity._Context.set` makes it the current one.

        Args:
            surroundings: of the worker.
            info: for `activity.info()`.
            heartbeat: for `activity.heartbeat()`.
            asked_for_client: called when the handler calls `activity.client()`; None: nobody needs to know.
            is_async: whether the handler is an `async def`.
            throws: whether the thread of a plain function gets an exception when it is to stop.
        """
        self.raiser = ThreadRaiser() if throws and not is_async else None
        self._cancelled = _CompositeEvent(
            thread_event=threading.Event(), async_event=asyncio.Event() if is_async else None
        )
        self._details = activity._ActivityCancellationDetailsHolder()
        self.context = (_Context if is_async else activity._Context)(
            info=info,
            heartbeat=heartbeat,
            cancelled_event=self._cancelled,
            worker_shutdown_event=surroundings.shutdown,
            shield_thread_cancel_exception=None if self.raiser is None else self.raiser.shielded,
            payload_converter_class_or_instance=surroundings.payload_converter,
            runtime_metric_meter=surroundings.metric_meter,
            client=surroundings.client if is_async else None,
            cancellation_details=self._details,
        )
        if asked_for_client is not None and isinstance(self.context, _Context):
            self.context.asked = asked_for_client

    @property
    def is_shielded(self) -> bool:
        """Whether a plain function is within `activity.shield_thread_cancel_exception()`."""
        return self.raiser is not None and self.raiser.is_shielded

    def tell(self, details: ActivityCancellationDetails) -> None:
        """Tell the handler to stop. The first reason stays.

        Args:
            details: why, for `activity.cancellation_details()`.
        """
        if self._details.details is None:
            self._details.details = details
        self._cancelled.set()
        if self.raiser is not None:
            self.raiser.throw(CancelledError)

    def run_in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a plain function in the calling thread."""
        if self.raiser is None:
            return function(*args)
        with self.raiser.active():
            return function(*args)


def shutdown_event() -> _CompositeEvent:
    """Return an event for `ActivitySurroundings.shutdown`."""
    return _CompositeEvent(thread_event=threading.Event(), async_event=asyncio.Event())
