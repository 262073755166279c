"""An application's handlers of every kind, with what they share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from temporalio import activity
from temporalio.exceptions import ApplicationError

from delegator import contract, current_job, delegated, implements, resource


@dataclass
class Notebook:
    lines: list[str] = field(default_factory=list)


EVENTS: list[str] = []
"""What happened in this process, in order."""


@resource
async def notebook() -> AsyncIterator[Notebook]:
    EVENTS.append("notebook opened")
    yield Notebook()
    EVENTS.append("notebook closed")


class Mailbox:
    """Made by a resource: its methods are handlers."""

    def __init__(self, notes: Notebook) -> None:
        self.notes = notes

    @delegated(name="mailbox_put")
    async def put(self, line: str) -> int:
        EVENTS.append("job")
        self.notes.lines.append(line)
        return len(self.notes.lines)


@resource
async def mailbox() -> AsyncIterator[Mailbox]:
    EVENTS.append("mailbox opened")
    yield Mailbox(notebook.get())
    EVENTS.append("mailbox closed")


@delegated
async def noted(line: str) -> list[str]:
    notebook.get().lines.append(line)
    return list(notebook.get().lines)


@delegated
def noted_in_thread(line: str) -> str:
    assert threading.current_thread() is not threading.main_thread()
    notebook.get().lines.append(line)
    return f"{line} {current_job().attempt}"


class Emails:
    """Made by the program, which gives its objects to the worker."""

    def __init__(self, sender: str) -> None:
        self.sender = sender

    @delegated
    async def send(self, to: str, copies: int) -> str:
        return f"{self.sender}>{to}x{copies}"

    @delegated
    def count(self, to: str) -> int:
        return len(to)


class Greeter:
    def __call__(self, name: str) -> str:
        return f"hello {name}"


greet = delegated(name="greet")(Greeter())


@contract()
async def promised(number: int) -> int:
    raise NotImplementedError


@implements(promised, max_concurrent=1)
def kept(number: int) -> int:
    return number + 1


@delegated
async def never() -> None:
    await asyncio.Event().wait()


MEETING = threading.Barrier(40, timeout=20)


@delegated
def meet(number: int) -> int:
    """Return only when forty of these run at once."""
    MEETING.wait()
    return number


# Existing activities, which nobody edits.


@activity.defn
async def old_async(name: str) -> str:
    activity.heartbeat("here")
    return f"{activity.info().activity_type} {name}"


@activity.defn(name="old sync")
def old_sync(name: str) -> str:
    if activity.info().attempt == 1:
        raise ApplicationError("again")
    return f"{activity.info().activity_type} {name} {activity.info().attempt}"


class OldActivities:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    @activity.defn
    async def old_method(self, name: str) -> str:
        return f"{self.prefix} {name}"


old_activities = OldActivities("from the object")
