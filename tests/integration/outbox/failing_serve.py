"""`delegator serve` that stops at a point of the dispatcher: `python failing_serve.py POINT AFTER SIGNAL`.

POINT is `before_send`, `after_send`, `before_delete`, `after_delete` or `never`; AFTER is how often it passes before.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from delegator.completion.operations import Operations
from delegator.config import Settings
from delegator.maintenance.service import ServeOptions, serve
from delegator.postgres import outbox
from delegator.postgres.connections import Connection
from delegator.postgres.outbox import Operation
from delegator.runtime.logs import configure_logging

point, after, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
passed = 0


def reached(here: str) -> None:
    global passed
    if here == point:
        passed += 1
        if passed == after:
            print(f"reached {here}", flush=True)
            os.kill(os.getpid(), signal.Signals[name])


carry_out, delete = Operations.carry_out, outbox.delete


async def failing_carry_out(self: Operations, row: Operation) -> None:
    reached("before_send")
    await carry_out(self, row)
    reached("after_send")


async def failing_delete(connection: Connection, seqs: Sequence[int]) -> None:
    reached("before_delete")
    await delete(connection, seqs)
    reached("after_delete")


Operations.carry_out = failing_carry_out  # type: ignore[method-assign]
outbox.delete = failing_delete
configure_logging()
asyncio.run(serve(ServeOptions(), Settings.load()))
