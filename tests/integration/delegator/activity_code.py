"""Activities as they stand in applications, with nothing of the delegator in them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Any

from temporalio import activity
from temporalio.exceptions import CancelledError

NOTES: defaultdict[str | None, list[Any]] = defaultdict(list)
"""What activities noted, by the id of their workflow. They run in the test's own process."""


def note(*what: Any) -> None:
    NOTES[activity.info().workflow_id].append(list(what))


def told() -> list[Any]:
    """What an activity can ask about its cancellation."""
    details = activity.cancellation_details()
    reasons = [] if details is None else [name for name, value in vars(details).items() if value]
    return [activity.is_cancelled(), sorted(reasons)]


@activity.defn
def loops() -> str:
    """Heartbeats until an exception comes, and lets it through."""
    note("started", told())
    try:
        while True:
            activity.heartbeat()
            time.sleep(0.02)
    except CancelledError as error:
        note(type(error).__name__, told())
        raise


@activity.defn
def computes() -> str:
    """Does not heartbeat; the exception comes between two lines."""
    note("started")
    try:
        while True:
            sum(range(1000))
    except CancelledError as error:
        note(type(error).__name__, told())
        raise


@activity.defn
def shielded() -> str:
    """Finishes what must not be interrupted, then gets the exception."""
    note("started")
    try:
        with activity.shield_thread_cancel_exception():
            with activity.shield_thread_cancel_exception():
                while not activity.is_cancelled():
                    activity.heartbeat()
                    time.sleep(0.02)
            note("finished")
        note("never")
    except CancelledError:
        note("CancelledError", told())
        raise
    return "not cancelled"


@activity.defn(no_thread_cancel_exception=True)
def polls() -> str:
    """Asks whether it is cancelled. No exception comes."""
    note("started")
    while not activity.is_cancelled():
        activity.heartbeat()
        time.sleep(0.02)
    time.sleep(0.1)
    activity.wait_for_cancelled_sync(1)
    return f"stopped by itself: {told()}"


@activity.defn
def swallows() -> str:
    """Catches the exception and returns a result."""
    note("started")
    try:
        while True:
            activity.heartbeat()
            time.sleep(0.02)
    except CancelledError:
        return "all the same"


@activity.defn
async def silent() -> str:
    """Does not heartbeat, so Temporal does not tell it of a cancellation."""
    note("started")
    try:
        for _ in range(15):
            await asyncio.sleep(0.1)
    except asyncio.CancelledError:
        note("interrupted")
        raise
    return f"ran to its end: {told()}"


@activity.defn
async def beats() -> str:
    note("started")
    try:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        await activity.wait_for_cancelled()
        note("interrupted", told())
        raise


@activity.defn
async def ignores_its_timeout() -> str:
    note("started")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note("interrupted", told())
    return "too late"


@activity.defn
async def never_ends() -> str:
    """Goes on after its timeout, until the test has seen that the workflow knows of it."""
    note("started")
    workflow_id = activity.info().workflow_id
    while ["let go"] not in NOTES[workflow_id]:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            note("interrupted")
    return "too late"
