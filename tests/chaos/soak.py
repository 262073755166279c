"""Runs many jobs while faults happen, and checks the whole history: `make soak JOBS=100000`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from datetime import timedelta
from random import Random

from tests.chaos.arena import INLINE, SIGNALLED, arena
from tests.chaos.load import Load, Outcome
from tests.chaos.monkey import Monkey, whole

_JOBS_IN_WORKFLOW = 100
_WORKFLOWS_AT_ONCE = 20
_TASK_TIMEOUT = timedelta(seconds=10)
"""Temporal's default. The faults' tests have a shorter one, which a busy machine exceeds."""
_TOLD_EVERY_SECONDS = 30.0


async def soak(jobs: int, seed: int) -> list[Outcome]:
    """Run jobs, half of them with inline waits, and return what became of them.

    Args:
        jobs: about how many.
        seed: of the faults.
    """
    async with arena() as field:
        loads = [Load(field, f"soak-{queue}", queue, task_timeout=_TASK_TIMEOUT) for queue in (INLINE, SIGNALLED)]
        monkey = Monkey(field, Random(seed))
        began = told = time.monotonic()
        is_over = False
        faults = asyncio.create_task(monkey.run(lambda: is_over))
        for number in range(-(-jobs // _JOBS_IN_WORKFLOW)):
            load = loads[number % 2]
            await load.add(1, _JOBS_IN_WORKFLOW, ms=lambda job: job * 37 % 40)
            while len(running := [task for one in loads for task in one.tasks.values() if not task.done()]) >= (
                _WORKFLOWS_AT_ONCE
            ):
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if faults.done():
                faults.result()
            if time.monotonic() - told > _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                print(f"{(number + 1) * _JOBS_IN_WORKFLOW} jobs, {sum(monkey.done.values())} faults", flush=True)
        is_over = True
        await faults
        outcomes = []
        for load in loads:
            load.fault_over()
            outcomes.append(await load.outcome())
        print(
            f"{time.monotonic() - began:.0f} s, {sum(monkey.done.values())} faults: {dict(sorted(monkey.done.items()))}"
        )
        return outcomes


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("jobs", type=int, nargs="?", default=100_000, help="how many jobs")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of the faults")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    outcomes = asyncio.run(soak(given.jobs, given.seed))
    print(*outcomes, sep="\n")
    return 0 if all(map(whole, outcomes)) else 1


if __name__ == "__main__":
    sys.exit(main())
