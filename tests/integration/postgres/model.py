"""A model of the statements: the same steps on plain Python rows, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

DUE, LATER = "due", "later"
Tokens = Mapping[str, int]


@dataclass
class Row:
    """A row of the queue's table; times are kept as what they mean."""

    token: int = 0
    attempt: int = 0
    lease: int | None = None
    retry: str | None = None
    waiter: int | None = None
    outcome: str | None = None
    cancel: bool = False
    overdue: bool = False
    published: int = 0
    plain: bool = False


@dataclass
class Model:
    """The three tables."""

    rows: dict[str, Row] = field(default_factory=dict)
    leases: dict[int, bool] = field(default_factory=dict)
    """Whether each lease that exists lives."""
    workers: set[int] = field(default_factory=set)
    """Which leases are workers'."""
    watermarks: dict[int, int] = field(default_factory=dict)
    clock: int = 0
    publications: dict[str, int] = field(default_factory=dict)
    stream: list[str] = field(default_factory=list)
    """Jobs published since the stream was last looked at."""
    dead_letters: int = 0
    bumped: set[str] = field(default_factory=set)
    """Rows that have a new fencing token since the model was last compared."""
    touched: set[str] = field(default_factory=set)
    """Rows changed by the last step."""

    def copy(self) -> Model:
        return replace(
            self,
            rows={job: replace(row) for job, row in self.rows.items()},
            leases=dict(self.leases),
            workers=set(self.workers),
            watermarks=dict(self.watermarks),
            publications=dict(self.publications),
            stream=list(self.stream),
            bumped=set(self.bumped),
            touched=set(),
        )

    def insert(self, jobs: Iterable[str], waiter: int | None, plain: bool = False) -> set[str]:
        fresh = {job for job in jobs if job not in self.rows}
        for job in fresh:
            self.rows[job] = Row(waiter=waiter, plain=plain)
            self._publish(job)
        return fresh

    def adopt(self, jobs: Iterable[str], waiter: int) -> set[str]:
        named = {job for job in jobs if job in self.rows and self.rows[job].waiter is not None}
        for job in named:
            self._change(job, waiter=waiter)
        return named

    def read(self, jobs: Iterable[str]) -> dict[str, str]:
        return {job: row.outcome for job in jobs if (row := self.rows.get(job)) and row.outcome is not None}

    def stop_waiting(self, jobs: Iterable[str]) -> dict[str, str]:
        for job in self._unfinished(jobs):
            self._change(job, waiter=None)
        return self.read(jobs)

    def take_over(self, jobs: Iterable[str], waiter: int) -> tuple[dict[str, str], set[str]]:
        gone = {job for job in jobs if job not in self.rows}
        found = self.stop_waiting(jobs)
        for job in found:
            if self.rows[job].waiter is not None:
                self._change(job, waiter=waiter)
        return found, gone

    def hand_over(self, jobs: Iterable[str]) -> None:
        for job in self.read(jobs):
            self._change(job, waiter=None)

    def delete_read(self, jobs: Iterable[str], waiter: int) -> int:
        return self._delete({job for job in self.read(jobs) if self.rows[job].waiter == waiter})

    def claim(self, jobs: Iterable[str], lease: int) -> tuple[dict[str, int], set[str]]:
        if not self.leases.get(lease):
            return {}, set(jobs)
        taken = {}
        for job in self._unfinished(jobs):
            row = self.rows[job]
            if row.retry is None and row.lease in (None, lease):
                self._change(job, lease=lease, attempt=row.attempt + 1, bump=True)
                taken[job] = row.attempt
        return taken, set()

    def store_outcomes(self, tokens: Tokens) -> tuple[set[str], set[str]]:
        held = self._held(tokens)
        stored = {job for job in held if self.rows[job].waiter is not None}
        for job in stored:
            self._change(job, outcome="completed", lease=None)
        return stored, held - stored

    def delete_held(self, tokens: Tokens) -> set[str]:
        gone = {job for job, token in tokens.items() if job in self.rows and self.rows[job].token == token}
        self._delete(gone)
        return gone

    def still_held(self, tokens: Tokens) -> dict[str, bool]:
        return {job: self.rows[job].cancel for job in self._held(tokens)}

    def retry(self, tokens: Tokens, when: str) -> set[str]:
        held = self._held(tokens)
        for job in held:
            due = DUE if self.rows[job].cancel else when
            self._change(job, retry=due, lease=None, bump=True)
        return held

    def store_dead_letters(self, tokens: Tokens) -> dict[str, bool]:
        held = self._held(tokens)
        for job in held:
            self._change(job, outcome="failed", lease=None, retry=None)
        self.dead_letters += len(held)
        return {job: self.rows[job].waiter is not None for job in held}

    def give_back(self, jobs: Iterable[str], lease: int) -> int:
        given = [job for job in self._unfinished(jobs) if self.rows[job].lease == lease]
        for job in given:
            self._change(job, attempt=self.rows[job].attempt - 1)
            self._republish(job)
        return len(given)

    def cancel(self, jobs: Iterable[str], missed: Collection[str] = ()) -> tuple[set[str], set[str]]:
        unfinished = list(self._unfinished(jobs))
        removed = {job for job in unfinished if not self._lives(self.rows[job].lease)} - set(missed)
        self._delete(removed)
        marked = set(unfinished) - removed
        for job in marked:
            self._change(job, cancel=True, waiter=None)
            if self.rows[job].retry is not None:
                self._change(job, retry=DUE)
        return removed, marked

    def sweep_leases(self) -> set[int]:
        expired = {lease for lease, lives in self.leases.items() if not lives}
        for job in self._unfinished(list(self.rows)):
            if self.rows[job].lease in expired:
                self._republish(job)
        for lease in expired:
            del self.leases[lease]
            self.watermarks.pop(lease, None)
        return expired

    def republish_unknown(self) -> int:
        found = [job for job in self._unfinished(list(self.rows)) if self._unknown(self.rows[job].lease)]
        for job in found:
            self._republish(job)
        return len(found)

    def republish_retries(self) -> int:
        due = [job for job in self._unfinished(list(self.rows)) if self.rows[job].retry == DUE]
        for job in due:
            self._change(job, retry=None)
            self._republish(job)
        return len(due)

    def republish_undelivered(self) -> int:
        before = max((self.watermarks.get(lease, 0) for lease in self.leases), default=0)
        rows = self.rows
        lost = [
            job
            for job in self._unfinished(list(rows))
            if rows[job].lease is None and rows[job].retry is None and rows[job].published < before
        ]
        for job in lost:
            self._republish(job)
        return len(lost)

    def overdue(self, with_grace: bool) -> set[tuple[str, int]]:
        return {
            (job, row.token)
            for job, row in self.rows.items()
            if row.overdue and row.outcome is None and not (with_grace and self._lives(row.lease))
        }

    def time_out(self, tokens: Tokens) -> int:
        held = self._held(tokens)
        for job in held:
            self._change(job, outcome="failed", lease=None, retry=None, bump=True)
        return len(held)

    def undelivered(self) -> set[str]:
        return {job for job, row in self.rows.items() if row.outcome is not None and row.waiter is None}

    def delete_delivered(self, jobs: Collection[str]) -> None:
        self._delete(self.undelivered() & set(jobs))

    def delete_unread(self) -> int:
        finished = {job for job, row in self.rows.items() if row.outcome is not None and row.waiter is not None}
        return self._delete(finished)

    def is_free(self, job: str) -> bool:
        row = self.rows.get(job)
        return row is not None and row.outcome is None and row.retry is None and not self._lives(row.lease)

    def _unfinished(self, jobs: Iterable[str]) -> list[str]:
        return [job for job in jobs if job in self.rows and self.rows[job].outcome is None]

    def _held(self, tokens: Tokens) -> set[str]:
        return {job for job in self._unfinished(tokens) if self.rows[job].token == tokens[job]}

    def _lives(self, lease: int | None) -> bool:
        return lease is not None and self.leases.get(lease, False)

    def _unknown(self, lease: int | None) -> bool:
        return lease is not None and lease not in self.leases

    def _change(self, job: str, *, bump: bool = False, **changes: object) -> None:
        for name, value in changes.items():
            setattr(self.rows[job], name, value)
        self.touched.add(job)
        if bump:
            self.bumped.add(job)

    def _delete(self, jobs: Collection[str]) -> int:
        for job in jobs:
            del self.rows[job]
            self.bumped.discard(job)
        self.touched |= set(jobs)
        return len(jobs)

    def _republish(self, job: str) -> None:
        self._change(job, lease=None)
        self._publish(job)

    def _publish(self, job: str) -> None:
        self.rows[job].published = self.clock
        self.publications[job] = self.publications.get(job, 0) + 1
        self.stream.append(job)
        self.bumped.add(job)
        self.touched.add(job)
