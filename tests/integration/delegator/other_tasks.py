"""What another code base would hold: the handlers of contracts."""

from __future__ import annotations

from delegator import implements
from tests.integration.delegator import queued_tasks, tasks
from tests.integration.delegator.tasks import Point, begin


@implements(tasks.elsewhere)
async def move(point: Point) -> Point:
    await begin()
    return Point(point.x + 1, point.y + 1)


@implements(queued_tasks.in_other_queue)
async def treble(number: int) -> int:
    await begin()
    return number * 3
