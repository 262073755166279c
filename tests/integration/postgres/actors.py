"""What workers, enqueuers and the sweeper do: one transaction a step."""

from __future__ import annotations

from typing import Any

from tests.integration.postgres import database
from tests.integration.postgres.database import MAINTENANCE, TABLE
from tests.integration.postgres.model import DUE, Model
from tests.integration.postgres.world import PLAIN, RUNNING, SIGNALLED, TO_SIGNAL, Activity, Held, Step, Worker, World


def in_phase(worker: Worker, phase: str) -> list[str]:
    return sorted(job for job, held in worker.held.items() if held.phase == phase)


async def _nothing(db: Any) -> None:
    pass


class Actors(World):
    """Makes the steps."""

    # Steps of enqueuers

    def insert(self, activity: Activity) -> Step:
        waiter = self.enqueuers[activity.enqueuer] if activity.waits else None
        jobs = list(activity.jobs)

        def then(fresh: set[str]) -> None:
            activity.inserted = True
            known = [job for job in jobs if job not in fresh]
            if activity.waits:
                activity.waiting, activity.known = set(fresh), known
            else:
                activity.forgone = known
            for job in fresh:
                self.excused[job] += job in self.asked  # it was forgotten, so it is run once more
                self.asked.add(job)

        return Step(lambda db: database.insert(db, jobs, waiter), lambda m: m.insert(jobs, waiter), then)

    def adopt(self, activity: Activity) -> Step:
        waiter, known = self.enqueuers[activity.enqueuer], activity.known

        def then(named: set[str]) -> None:
            activity.known = []
            activity.waiting |= named
            activity.forgone += [job for job in known if job not in named]

        return Step(lambda db: TABLE.adopt(db, known, waiter), lambda m: m.adopt(known, waiter), then)

    def forgo(self, activity: Activity) -> Step:
        jobs, waiter = activity.forgone, self.enqueuers[activity.enqueuer]

        def then(result: tuple[dict[str, str], set[str]]) -> None:
            found, gone = result
            activity.forgone = []
            self._found(activity, found)
            if gone:
                self.activities.append(Activity(activity.enqueuer, sorted(gone), activity.waits, activity.wanted))

        return Step(lambda db: database.take_over(db, jobs, waiter), lambda m: m.take_over(jobs, waiter), then)

    def read(self, activity: Activity) -> Step:
        jobs = sorted(activity.waiting)

        def then(found: dict[str, str]) -> None:
            self._found(activity, found)

        return Step(lambda db: database.read(db, jobs), lambda m: m.read(jobs), then)

    def _found(self, activity: Activity, found: dict[str, str]) -> None:
        activity.found |= set(found)
        activity.waiting -= set(found)
        for job in found:
            if job in self.model.rows and self.model.rows[job].waiter is None:
                self.excused[job] += 1  # a dead letter, or handed over: it will be signalled, too

    def end_wait(self, activity: Activity, recorded: bool, fits: bool = True) -> Step:
        waiting = sorted(activity.waiting)

        async def run(db: Any) -> Any:
            found = await database.stop(db, waiting)
            if not fits:
                await TABLE.hand_over(db, sorted(activity.found | set(found)))
            return found

        def play(model: Model) -> Any:
            found = model.stop_waiting(waiting)
            if not fits:
                model.hand_over(activity.found | set(found))
            return found

        def then(found: dict[str, str]) -> None:
            self._found(activity, found)
            if not fits:
                activity.found.clear()
            self.activities.remove(activity)
            self._end(activity, recorded)

        return Step(run, play, then)

    def _end(self, activity: Activity, recorded: bool) -> None:
        self.unread.setdefault(self.enqueuers[activity.enqueuer], set()).update(activity.found)
        if not (recorded and activity.wanted):
            return
        for job in activity.jobs:
            if job in activity.found:
                self.hear(job)
            elif not self.heard[job]:
                self.pending.add(job)

    def delete_read(self) -> Step:
        """A process that was paused for long deletes its rows late: others may wait for them by now."""
        waiter, read = self.unread.popitem()
        jobs = sorted(read)
        return Step(lambda db: TABLE.delete_read(db, jobs, waiter), lambda m: m.delete_read(jobs, waiter))

    def cancel(self, jobs: list[str]) -> Step:
        def then(result: tuple[set[str], set[str]]) -> None:
            for job in result[0]:
                if job not in PLAIN:
                    self.hear(job)

        return Step(
            lambda db: TABLE.cancel(db, jobs), lambda m: m.cancel(jobs), then, lambda m, missed: m.cancel(jobs, missed)
        )

    # Steps of workers

    def claim(self, worker: Worker, jobs: list[str], answered: bool = True) -> Step:
        lease = worker.lease

        def then(result: tuple[dict[str, int], set[str]]) -> None:
            claimed, again = result
            if not answered:
                worker.claiming |= set(jobs)
                return
            for job in jobs:
                if job not in again:
                    worker.claiming.discard(job)
                    if job in self.stream:
                        self.stream.remove(job)
            for job, attempt in claimed.items():
                row = self.model.rows.get(job)
                # In a race the row may have a newer fencing token by now; then this one is stale.
                token = row.token if row is not None and row.lease == lease and row.attempt == attempt else -1
                worker.held[job] = Held(token, attempt)

        return Step(lambda db: database.claim(db, jobs, lease), lambda m: m.claim(jobs, lease), then)

    def store_outcomes(self, worker: Worker, jobs: list[str]) -> Step:
        tokens = worker.tokens(jobs)

        def then(result: tuple[set[str], set[str]]) -> None:
            for job in jobs:
                if job in result[1]:
                    worker.held[job].phase = TO_SIGNAL
                else:
                    worker.held.pop(job, None)  # stored, or its fencing token is stale

        return Step(lambda db: database.store_outcomes(db, tokens), lambda m: m.store_outcomes(tokens), then)

    def delete(self, worker: Worker, jobs: list[str]) -> Step:
        tokens = worker.tokens(jobs)

        def then(deleted: set[str]) -> None:
            for job in jobs:
                if worker.held.pop(job).phase == SIGNALLED and job not in deleted:
                    self.excused[job] += 1

        return Step(lambda db: TABLE.delete_held(db, list(tokens.items())), lambda m: m.delete_held(tokens), then)

    def retry(self, worker: Worker, jobs: list[str], when: str) -> Step:
        tokens = worker.tokens(jobs)
        held = {job: (worker.held[job].token, worker.held[job].attempt) for job in jobs}

        def then(scheduled: set[str]) -> None:
            for job in jobs:
                del worker.held[job]

        return Step(lambda db: database.retry(db, held, when), lambda m: m.retry(tokens, when), then)

    def store_dead_letters(self, worker: Worker, jobs: list[str]) -> Step:
        tokens = worker.tokens(jobs)

        def then(waited: dict[str, bool]) -> None:
            for job in jobs:
                if waited.get(job) is False:
                    worker.held[job].phase = TO_SIGNAL
                    self.excused[job] += 1  # the signaller may deliver it, too
                else:
                    del worker.held[job]

        return Step(lambda db: database.store_dead_letters(db, tokens), lambda m: m.store_dead_letters(tokens), then)

    def stop(self, number: int) -> Step:
        """Give back what runs and end the lease; rows that are locked at that moment are left to the sweeper."""
        worker = self.workers[number]
        lease, jobs = worker.lease, in_phase(worker, RUNNING)

        def then(count: int) -> None:
            if lease in self.model.leases:
                self.run_out(lease)
            self.worker_dies(number)

        return Step(lambda db: database.give_back(db, jobs, lease), lambda m: m.give_back(jobs, lease), then)

    def monitor(self, worker: Worker) -> Step:
        tokens = worker.tokens(in_phase(worker, RUNNING))

        def then(held: dict[str, bool]) -> None:
            for job in tokens:
                if job not in held:
                    del worker.held[job]

        return Step(lambda db: TABLE.held(db, list(tokens.items())), lambda m: m.still_held(tokens), then)

    def signal(self, worker: Worker) -> Step:
        def then(result: None) -> None:
            for job in in_phase(worker, TO_SIGNAL):
                worker.held[job].phase = SIGNALLED
                if job not in PLAIN:
                    self.hear(job)

        return Step(_nothing, lambda m: None, then)

    def worker_dies(self, number: int) -> None:
        for job in in_phase(self.workers[number], SIGNALLED):
            self.excused[job] += 1
        self.workers[number] = Worker(self.granted("worker"))

    def worker_renews(self, worker: Worker, stream_empty: bool) -> None:
        self.model.clock += 1
        alive = self.store.do(lambda db: database.renew(db, worker.lease, stream_empty))
        assert alive is (worker.lease in self.model.leases)
        if alive:
            self.model.leases[worker.lease] = True
            if stream_empty:
                self.model.watermarks[worker.lease] = self.model.clock
            return
        for job in in_phase(worker, RUNNING):
            del worker.held[job]
        worker.lease = self.granted("worker")

    # Steps of the sweeper

    def sweep_leases(self) -> Step:
        return Step(database.sweep_leases, lambda m: m.sweep_leases())

    def republish_unknown(self) -> Step:
        return Step(MAINTENANCE.republish_unknown_lease, lambda m: m.republish_unknown())

    def republish_retries(self) -> Step:
        return Step(MAINTENANCE.republish_retries, lambda m: m.republish_retries())

    def republish_undelivered(self) -> Step:
        return Step(lambda db: MAINTENANCE.republish_undelivered(db, database.NOW), lambda m: m.republish_undelivered())

    def look_for_overdue(self, with_grace: bool) -> Step:
        def then(found: set[tuple[str, int]]) -> None:
            self.overdue = dict(found)

        return Step(lambda db: database.overdue(db, with_grace), lambda m: m.overdue(with_grace), then)

    def time_out(self) -> Step:
        overdue, self.overdue = self.overdue, {}
        return Step(lambda db: database.time_out(db, overdue), lambda m: m.time_out(overdue))

    def deliver(self) -> Step:
        def then(found: set[str]) -> None:
            for job in found - set(PLAIN):
                self.excused[job] += job in self.delivered  # it died before it deleted the row
                self.hear(job)
            self.delivered = found

        return Step(database.undelivered, lambda m: m.undelivered(), then)

    def delete_delivered(self) -> Step:
        delivered, self.delivered = self.delivered, set()
        return Step(lambda db: database.delete_delivered(db, delivered), lambda m: m.delete_delivered(delivered))

    def delete_unread(self) -> Step:
        return Step(lambda db: MAINTENANCE.delete_unread(db, -database.HOUR), lambda m: m.delete_unread())

    # Time, and those who ask for plain jobs

    def time_passes(self) -> None:
        self.store.do(database.make_due)
        for row in self.model.rows.values():
            row.retry = row.retry and DUE

    def deadline_passes(self, job: str) -> None:
        self.store.do(lambda db: database.pass_deadline(db, job))
        row = self.model.rows.get(job)
        if row is not None and row.outcome is None:
            row.overdue = True

    def enqueue_plain(self) -> Step:
        return Step(lambda db: database.insert(db, PLAIN, None, True), lambda m: m.insert(PLAIN, None, plain=True))
