"""Workers, enqueuers and a sweeper around the tables, and a workflow that has to hear of every job.

The engine's own statements and the model (`model.py`) make every step, and the results are compared. Two concurrent
steps must end as they would one after the other, in one of the two orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.integration.postgres import database
from tests.integration.postgres.database import Run, Seen, Store
from tests.integration.postgres.model import Model

JOBS = ("a", "b", "c", "d", "e", "f")
PLAIN = ("p",)
WORKERS, ENQUEUERS = range(2), range(2)
RUNNING, TO_SIGNAL, SIGNALLED = "running", "to signal", "signalled"


@dataclass
class Held:
    token: int
    attempt: int
    phase: str = RUNNING


@dataclass(eq=False)
class Worker:
    lease: int
    held: dict[str, Held] = field(default_factory=dict)
    claiming: set[str] = field(default_factory=set)
    """Jobs whose claim may have been made: its answer was lost. It is asked again before the stream is acknowledged."""

    def tokens(self, jobs: Any) -> dict[str, int]:
        return {job: self.held[job].token for job in jobs}


@dataclass(eq=False)
class Activity:
    """A local activity. One that Temporal has given up may still run, but its result is ignored."""

    enqueuer: int
    jobs: list[str]
    waits: bool
    wanted: bool = True
    inserted: bool = False
    known: list[str] = field(default_factory=list)
    """Jobs that were there already, and are to be adopted."""
    forgone: list[str] = field(default_factory=list)
    """Jobs that are not to be waited for."""
    waiting: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)


@dataclass
class Step:
    """One transaction of somebody, and what follows from its result."""

    run: Run
    model: Callable[[Model], Any]
    then: Callable[[Any], None] = lambda result: None
    missed: Callable[[Model, set[str]], Any] | None = None
    """As `model`, where the first of several statements missed these rows."""


def _first_second(model: Model, first: Step, second: Step) -> Any:
    early = first.model(model)
    return early, second.model(model)


def _second_first(model: Model, first: Step, second: Step) -> Any:
    late = second.model(model)
    return first.model(model), late


def _second_misses_rows(model: Model, first: Step, second: Step) -> Any:
    """Rows that were inserted anew, or are locked, are not there for a statement that began before the commit."""
    early = first.model(model)
    hidden = {job: model.rows.pop(job) for job in model.touched if job in model.rows}
    late = second.model(model)
    model.rows |= hidden
    return early, late


def _second_misses_rows_at_first(model: Model, first: Step, second: Step) -> Any:
    early = first.model(model)
    return early, (second.model(model) if second.missed is None else second.missed(model, set(model.touched)))


def _with_old_leases(play: Callable[[Model, Step, Step], Any]) -> Callable[[Model, Step, Step], Any]:
    """Leases are read as they were when the statement began."""

    def played(model: Model, first: Step, second: Step) -> Any:
        before = dict(model.leases)
        after: dict[int, bool] = {}

        def end_first(model: Model) -> Any:
            result = first.model(model)
            after.update(model.leases)
            model.leases = dict(before)
            return result

        result = play(model, Step(first.run, end_first), second)
        model.leases = after
        return result

    return played


_ORDERS: dict[str, Callable[[Model, Step, Step], Any]] = {
    "first, second": _first_second,
    "second, first": _second_first,
    "second misses rows": _second_misses_rows,
    "second misses rows at first": _second_misses_rows_at_first,
    "second sees old leases": _with_old_leases(_first_second),
    "second misses rows and sees old leases": _with_old_leases(_second_misses_rows),
}


class World:
    """The tables, twice, and the workflow. A step is made with `do` or, beside another, with `race`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.wipe()
        self.model = Model()
        self.top: dict[str, int] = {}
        self.stream: list[str] = []
        self.activities: list[Activity] = []
        self.asked: set[str] = set()
        self.pending: set[str] = set()
        self.heard: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()
        self.unread: dict[int, set[str]] = {}
        """By enqueuer: rows that it has read and will delete after the result TTL."""
        self.overdue: dict[str, int] = {}
        self.delivered: set[str] = set()
        self.workers = [Worker(self.granted("worker")) for _ in WORKERS]
        self.enqueuers = [self.granted("enqueuer") for _ in ENQUEUERS]

    def granted(self, role: str) -> int:
        lease: int = self.store.do(lambda db: database.grant(db, role))
        self.model.leases[lease] = True
        if role == "worker":
            self.model.workers.add(lease)
        return lease

    # One step, or two at once

    def do(self, step: Step) -> None:
        self.model.clock += 1
        result = self.store.do(step.run)
        assert result == step.model(self.model)
        seen = self.store.look()
        difference = self._difference(self.model, seen)
        assert difference is None, difference
        self._accept(self.model, seen)
        step.then(result)

    def race(self, first: Step, second: Step) -> None:
        self.model.clock += 1
        results = self.store.race(first.run, second.run)
        seen = self.store.look()
        reasons = []
        for name, play in _ORDERS.items():
            model = self.model.copy()
            expected = play(model, first, second)
            reason = self._difference(model, seen) if expected == results else f"{expected} instead of {results}"
            if reason is None:
                self.model = model
                self._accept(model, seen)
                first.then(results[0])
                second.then(results[1])
                return
            reasons.append(f"{name}: {reason}")
        raise AssertionError("\n".join(reasons))

    def _difference(self, model: Model, seen: Seen) -> str | None:
        rows = {
            job: [row.attempt, row.lease, row.retry, row.waiter, row.outcome, row.cancel, row.overdue]
            for job, row in model.rows.items()
        }
        if rows != {job: row[1:] for job, row in seen.rows.items()}:
            return f"rows are {seen.rows}, should be {rows}"
        for job, (token, *_) in seen.rows.items():
            if job in model.bumped and token <= self.top.get(job, 0):
                return f"the fencing token of {job} did not grow: {token} after {self.top[job]}"
            if job not in model.bumped and token != model.rows[job].token:
                return f"the fencing token of {job} changed"
        live, expired = (
            sorted(lease for lease, lives in model.leases.items() if lives is state) for state in (True, False)
        )
        expected = (live, expired, model.dead_letters, model.publications)
        return None if seen[1:] == expected else f"{seen[1:]} should be {expected}"

    def _accept(self, model: Model, seen: Seen) -> None:
        for job in model.bumped:
            self.top[job] = model.rows[job].token = seen.rows[job][0]
        model.bumped.clear()
        model.touched.clear()
        self.stream += model.stream
        model.stream.clear()

    def run_out(self, lease: int) -> None:
        self.store.do(lambda db: database.run_out(db, lease))
        self.model.leases[lease] = False

    # The workflow

    def hear(self, job: str) -> None:
        """Complete a job. Twice is an error, unless a process died or lost its lease after its signal."""
        self.heard[job] += 1
        self.pending.discard(job)
        token = self.model.rows[job].token if job in self.model.rows else None
        stale = sum(
            worker.held[job].phase == SIGNALLED and worker.held[job].token != token
            for worker in self.workers
            if job in worker.held
        )
        assert self.heard[job] <= 1 + self.excused[job] + stale, f"{job} was completed twice"

    def is_open(self, job: str) -> bool:
        return any(activity.wanted and job in activity.jobs for activity in self.activities)

    def unasked(self) -> list[str]:
        """What the workflow's next task would ask for: not under way, not heard of. Two at a time."""
        rest = [job for job in JOBS if not self.heard[job]][:2]
        return [job for job in rest if job not in self.pending and not self.is_open(job)]

    def nobody_waits_for_ever(self) -> None:
        for job in self.pending:
            row = self.model.rows.get(job)
            assert row is not None, f"{job} is gone, and its workflow has no outcome"
            assert (
                row.outcome is None or row.waiter is None or any(job in activity.jobs for activity in self.activities)
            ), f"the outcome of {job} waits for a reader; its workflow for a signal"
