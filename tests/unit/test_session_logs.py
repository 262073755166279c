"""What `caplog` does not see."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.support.session_logs import outliving_tests


async def test_other_tasks(caplog: pytest.LogCaptureFixture) -> None:
    """A test sees its own log, and not that of tasks of a shared engine."""
    logger = logging.getLogger("test")

    async def log(message: str) -> None:
        await asyncio.sleep(0)
        logger.warning(message)

    async def start(message: str) -> None:
        await asyncio.create_task(log(message))

    with outliving_tests():
        outer = asyncio.create_task(start("engine"))
    await asyncio.gather(outer, asyncio.create_task(start("test")))
    logger.warning("here")
    assert caplog.messages == ["test", "here"]
