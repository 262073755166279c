"""The load of a scenario, and what became of its jobs."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from tests.chaos import flows
from tests.chaos.arena import LEASE, SIGNALLED, TASK_TIMEOUT, Arena, eventually
from tests.chaos.history import signalled_while_retried, violations
from tests.chaos.tasks import NUMBERED, Item, answer, parted
from tests.support import read_ledger

LONG = os.environ.get("DELEGATOR_CHAOS") == "long"
SCALE = 5 if LONG else 1
"""How many times the jobs of the short form."""
RECOVERY = LEASE + 5.0
"""Seconds from the end of a fault until everything that it held up is done."""
NOISE = 1.0 if LONG else 1.5
"""How many times that may be taken; the short form runs beside other tests."""
STUCK_SECONDS = 120.0 if LONG else 60.0
"""Seconds after which a workflow is stuck."""
Finish = Callable[..., Awaitable["Outcome"]]
"""What the fixture `finish` is."""
_numbers = itertools.count()


@dataclass(frozen=True)
class Outcome:
    """What became of the jobs of one scenario."""

    scenario: str
    inline: str
    """`on` or `off`."""
    jobs: int
    lost: int
    """Jobs that no handler ever finished."""
    stuck: int
    """Workflows that did not end."""
    wrong: int
    """Workflows that ended with anything but the right answers."""
    broken: int
    """Results that the history of their jobs excludes: of an attempt that was fenced, or did not run to its end."""
    doubles: int
    """Executions beyond the first of a job; attempts that failed by design are none."""
    excused: int
    """Those of jobs whose lease or unfinished enqueue was held by what the fault hit, or that were signalled while
    their workflow task ran again."""
    unfinished: int
    """Rows left without an outcome."""
    recovery: float
    """Seconds from the end of the fault until the last workflow that it could have held up ended."""

    def cell(self, name: str) -> str:
        """Return a field as the table shows it."""
        value = getattr(self, name)
        return f"{value:.1f}" if isinstance(value, float) else str(value)


@dataclass
class Load:
    """Workflows under way."""

    arena: Arena
    scenario: str
    task_queue: str
    expected: dict[str, list[Any]] = field(default_factory=dict)
    handles: dict[str, WorkflowHandle[Any, Any]] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[tuple[Any, float]]] = field(default_factory=dict)
    fault_ended: float = 0.0
    added: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    """The arguments of `add`."""
    numbered: set[str] = field(default_factory=set)
    """Workflows whose results tell the attempts of their jobs."""
    task_timeout: timedelta = TASK_TIMEOUT
    """Of workflow tasks."""

    async def add(
        self, workflows: int, jobs: int, *, ms: Callable[[int], int] = lambda number: 20 + number * 37 % 180,
        handler: str = "work", kind: str = NUMBERED, ways: Sequence[str] = flows.WAYS, one_by_one: int = 2,
    ) -> None:  # fmt: skip
        """Start workflows, the ways in turn."""
        self.added.append(
            (workflows, jobs, {"ms": ms, "handler": handler, "kind": kind, "ways": ways, "one_by_one": one_by_one})
        )
        starts = []
        for number in range(workflows):
            name = f"{self.scenario}-{next(_numbers)}".replace(" ", "-")
            items = [Item(name, job, ms(job), kind) for job in range(jobs)]
            order = flows.Order(ways[number % len(ways)], handler, items, min(one_by_one, jobs))
            if kind == NUMBERED:
                self.numbered.add(name)
            starts.append(
                self.start(name, flows.Chaos.run, [order], [1 if kind == "attempt" else answer(item) for item in items])
            )
        await asyncio.gather(*starts)

    async def start(self, name: str, workflow: Any, args: list[Any], expected: list[Any]) -> None:
        client = self.arena.client
        assert client is not None
        self.expected[name] = expected
        while True:
            try:
                handle: WorkflowHandle[Any, Any] = await client.start_workflow(
                    workflow, args=args, id=name, task_queue=self.task_queue, task_timeout=self.task_timeout
                )
                break
            except RPCError:
                await asyncio.sleep(0.1)
        self.handles[name] = handle
        self.tasks[name] = asyncio.create_task(_result(client, name))

    def lines(self) -> list[dict[str, Any]]:
        """What the handlers noted of this load."""
        return [line for line in read_ledger(self.arena.ledger) if line["workflow"] in self.expected]

    async def noted(self, event: str, count: int = 1, *, pid: int | None = None) -> None:
        """Wait until handlers noted an event so many times."""

        async def look() -> bool:
            return sum(line["event"] == event and pid in (None, line["pid"]) for line in self.lines()) >= count

        try:
            await eventually(look, what=f"{count} times {event!r}")
        except AssertionError:
            await self.tell([name for name, task in self.tasks.items() if not task.done()])
            raise

    def fault_over(self) -> None:
        """The recovery begins."""
        self.fault_ended = time.monotonic()

    async def outcome(self) -> Outcome:
        """Wait for the end, and count what became of the jobs."""
        assert self.fault_ended
        done, _ = await asyncio.wait(self.tasks.values(), timeout=STUCK_SECONDS)
        results, attempts = self._results(done)
        wrong = [name for name, result in results.items() if result != self.expected[name]]
        broken = violations(self.lines(), {name: attempts[name] for name in attempts.keys() - set(wrong)})
        if broken:
            print("BROKEN", *broken, sep="\n")
        stuck = [name for name, task in self.tasks.items() if task not in done]
        ended = [task.result()[1] for task in done]
        for name in wrong:
            print(f"WRONG {name}: {str(results[name])[:500]}, not {str(self.expected[name])[:500]}")
        unfinished = await self._unfinished()
        if stuck or unfinished:
            await self.tell(stuck, unfinished)
        for task in self.tasks.values():
            task.cancel()
        lines = self.lines()
        finished = {(line["workflow"], line["number"]) for line in lines if line["event"] in ("end", "failed")}
        jobs = sum(len(answers) for answers in self.expected.values())
        doubles, excused = await self._doubles(lines)
        recovery = max([end - self.fault_ended for end in ended], default=0.0) if not stuck else float("inf")
        return Outcome(
            self.scenario, "off" if self.task_queue == SIGNALLED else "on", jobs, jobs - len(finished) - self.unnoted(),
            len(stuck), len(wrong), len(broken), doubles, excused, len(unfinished), max(0.0, recovery),
        )  # fmt: skip

    def _results(self, done: set[asyncio.Task[tuple[Any, float]]]) -> tuple[dict[str, Any], dict[str, list[int]]]:
        """Return the answers of the workflows that have ended, and the attempts that gave them, where they tell."""
        results: dict[str, Any] = {}
        attempts: dict[str, list[int]] = {}
        for name, task in self.tasks.items():
            if task not in done:
                continue
            results[name] = result = task.result()[0]
            if name in self.numbered and isinstance(result, list):
                results[name] = [parted(one)[0] for one in result]
                attempts[name] = [parted(one)[1] for one in result]
        return results, attempts

    async def undisturbed(self) -> float:
        """Return how many seconds the same workflows take while nothing happens to anybody."""
        twin = Load(self.arena, f"{self.scenario}, undisturbed", self.task_queue, task_timeout=self.task_timeout)
        began = time.monotonic()
        for workflows, jobs, options in self.added:
            await twin.add(workflows, jobs, **options)
        ended = [(await task)[1] for task in twin.tasks.values()]
        return max(ended, default=began) - began

    def unnoted(self) -> int:
        """Jobs whose handler is never called, rightly."""
        return 0

    async def _unfinished(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []

        async def none() -> bool:
            nonlocal rows
            rows = await self.arena.rows("outcome IS NULL")
            return not rows

        try:
            await eventually(none, within=RECOVERY)
        except AssertionError:
            return rows
        return []

    async def tell(self, stuck: Sequence[str] = (), unfinished: Sequence[tuple[Any, ...]] = ()) -> None:
        print(f"STUCK {stuck}\nUNFINISHED {unfinished}")
        await self._tell_histories(stuck)
        print(*self.lines(), sep="\n")
        for table in ("custom_task_queue", "custom_task_queue_slow"):
            print(await self.arena.query(
                "SELECT job_id, job_type, attempt, lease_id, fencing_token, retry_at, waiter_id, outcome, published_at "
                f"FROM {table}"  # type: ignore[arg-type]
            ))  # fmt: skip
        print(await self.arena.query("SELECT now(), * FROM custom_task_lease"))
        for process in self.arena.processes:
            if process.child is not None:
                print(f"--- {process.name} {process.child.pid}\n{process.child.tail(15)}")

    async def _tell_histories(self, names: Iterable[str]) -> None:
        for name in names:
            print(name, *[
                f"{event.event_id} {EventType.Name(event.event_type).removeprefix('EVENT_TYPE_')} "
                f"{event.event_time.ToMilliseconds() / 1000:.2f}"
                for event in (await self.handles[name].fetch_history()).events
            ])  # fmt: skip

    async def _doubles(self, lines: list[dict[str, Any]]) -> tuple[int, int]:
        runs: dict[tuple[str, int], int] = defaultdict(int)
        jobs: dict[tuple[str, int], set[str]] = defaultdict(set)
        for line in lines:
            key = (line["workflow"], line["number"])
            runs[key] += {"start": 1, "failed": -1}.get(line["event"], 0)
            jobs[key].add(line["job"])
        excess = {key: count - 1 for key, count in runs.items() if count > 1}
        excused = {key: count for key, count in excess.items() if jobs[key] <= self.arena.held}
        for name in {name for name, _ in excess.keys() - excused.keys()}:
            if signalled_while_retried((await self.handles[name].fetch_history()).events):
                excused |= {key: count for key, count in excess.items() if key[0] == name}
            else:
                await self._tell_histories([name])
        for key in excess.keys() - excused.keys():
            print("TWICE", [line for line in lines if (line["workflow"], line["number"]) == key])
        return sum(excess.values()), sum(excused.values())


async def _result(client: Client, name: str) -> tuple[Any, float]:
    handle = client.get_workflow_handle(name)
    while True:
        try:
            description = await handle.describe()
            if description.status is not WorkflowExecutionStatus.RUNNING:
                closed = time.monotonic()
                if description.status is not WorkflowExecutionStatus.COMPLETED:
                    return description.status, closed
                return await handle.result(), closed
        except RPCError:
            pass
        await asyncio.sleep(0.05)


def check(outcome: Outcome, *, recovery: float = RECOVERY) -> None:
    """Hold an outcome to the promises.

    Args:
        outcome: of a scenario.
        recovery: its longest recovery, in seconds.
    """
    broken = [name for name in ("lost", "stuck", "wrong", "broken", "unfinished") if getattr(outcome, name)]
    if outcome.doubles > outcome.excused:
        broken.append("doubles")
    if outcome.recovery > recovery * NOISE:
        broken.append("recovery")
    assert not broken, f"{', '.join(broken)}: {outcome}"
