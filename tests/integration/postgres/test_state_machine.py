"""Workers, enqueuers and a sweeper take turns and race on the real tables, in any order hypothesis thinks of."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.integration.postgres.actors import Actors, in_phase
from tests.integration.postgres.database import Store
from tests.integration.postgres.model import DUE, LATER
from tests.integration.postgres.world import (
    ENQUEUERS,
    JOBS,
    PLAIN,
    RUNNING,
    SIGNALLED,
    TO_SIGNAL,
    Activity,
    Step,
    Worker,
)
from tests.support import Database

EXAMPLES = int(os.environ.get("DELEGATOR_TEST_EXAMPLES", "130"))
"""Runs of the machine; more of them for an hour's search."""

Steps = dict[str, Callable[[st.DataObject], Step]]
"""What somebody may do now."""
Faults = dict[str, Callable[[st.DataObject], None]]

_WEIGHTS = {"worker": 3, "activity": 3, "sweeper": 2, "enqueuers": 1, "canceller": 1}
_rarely_false = st.sampled_from((True, True, True, False))


def _some(jobs: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(jobs), min_size=1, unique=True)


class Machine(RuleBasedStateMachine):
    """Draws who does what. `store` is set by the test."""

    store: Store

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world = Actors(self.store)
        self._ask(data)

    def teardown(self) -> None:
        """The dead are gone, the others go on undisturbed: everything must come to its end."""
        if sys.exc_info()[0] is None and hasattr(self, "world"):
            come_to_an_end(self.world)

    @rule(data=st.data(), count=st.integers(2, 12))
    def some_steps(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            if not self._everybody():
                return
            self.world.do(self._draw(data)[1])
            self.world.nobody_waits_for_ever()

    @rule(data=st.data(), count=st.integers(1, 3))
    def two_steps_at_once(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            self._two_steps(data)

    def _two_steps(self, data: st.DataObject) -> None:
        if not self._everybody():
            return
        who, first = self._draw(data)
        if self._everybody(but=who):
            self.world.race(first, self._draw(data, but=who)[1])
        else:
            self.world.do(first)
        self.world.nobody_waits_for_ever()

    @rule(data=st.data())
    def a_lease_is_lost(self, data: st.DataObject) -> None:
        """A worker that is silent for too long: others have its jobs before it knows."""
        world = self.world
        workers = [worker for worker in world.workers if in_phase(worker, RUNNING) + in_phase(worker, TO_SIGNAL)]
        if not workers:
            return
        silent = data.draw(st.sampled_from(workers))
        if silent.lease in world.model.leases:
            world.run_out(silent.lease)
        world.do(world.sweep_leases())
        for worker in world.workers:
            offered = sorted(set(world.stream) - set(worker.held))
            if worker is not silent and offered:
                world.do(world.claim(worker, offered))

    @rule(data=st.data())
    def something_else_happens(self, data: st.DataObject) -> None:
        faults = self._faults()
        faults[data.draw(st.sampled_from(list(faults)))](data)

    def _draw(self, data: st.DataObject, but: str = "") -> tuple[str, Step]:
        everybody = self._everybody(but)
        who = data.draw(st.sampled_from([who for who in everybody for _ in range(_WEIGHTS[who.split()[0]])]))
        steps = everybody[who]
        return who, steps[data.draw(st.sampled_from(list(steps)))](data)

    def _everybody(self, but: str = "") -> dict[str, Steps]:
        world = self.world
        everybody = {f"worker {number}": self._worker_steps(worker) for number, worker in enumerate(world.workers)}
        for number, activity in enumerate(world.activities):
            everybody[f"activity {number}"] = self._activity_steps(activity)
        everybody["sweeper"] = self._sweeper_steps()
        if world.unread:
            everybody["enqueuers"] = {"delete read": lambda data: world.delete_read()}
        unfinished = sorted(job for job, row in world.model.rows.items() if row.outcome is None)
        if unfinished:
            everybody["canceller"] = {"cancel": lambda data: world.cancel(data.draw(_some(unfinished)))}
        return {who: steps for who, steps in everybody.items() if steps and who != but}

    def _activity_steps(self, activity: Activity) -> Steps:
        world = self.world
        if not activity.inserted:
            return {"insert": lambda data: world.insert(activity)}
        if activity.known:
            return {"adopt": lambda data: world.adopt(activity)}
        if activity.forgone:
            return {"forgo": lambda data: world.forgo(activity)}
        return {
            "read": lambda data: world.read(activity),
            "end": lambda data: world.end_wait(activity, data.draw(_rarely_false), data.draw(_rarely_false)),
        }

    def _worker_steps(self, worker: Worker) -> Steps:
        world = self.world
        steps: Steps = {}
        offered = sorted((set(world.stream) | worker.claiming) - set(worker.held))
        running, done = in_phase(worker, RUNNING), in_phase(worker, SIGNALLED)
        plain = [job for job in running if job in PLAIN]
        waited = [job for job in running if job not in PLAIN]
        alive = world.model.leases.get(worker.lease)
        if worker.claiming or (alive and any(map(world.model.is_free, offered))) or len(offered) > 3:
            steps["claim"] = lambda data: world.claim(worker, data.draw(_some(offered)), data.draw(_rarely_false))
        if waited:
            steps["complete"] = lambda data: world.store_outcomes(worker, data.draw(_some(waited)))
        if plain:
            steps["finish plain"] = lambda data: world.delete(worker, plain)
        if in_phase(worker, TO_SIGNAL):
            steps["signal"] = lambda data: world.signal(worker)
        if done:
            steps["delete"] = lambda data: world.delete(worker, data.draw(_some(done)))
        if running:
            when = st.sampled_from((DUE, LATER))
            steps["monitor"] = lambda data: world.monitor(worker)
            steps["retry"] = lambda data: world.retry(worker, data.draw(_some(running)), data.draw(when))
            steps["store_dead_letters"] = lambda data: world.store_dead_letters(worker, data.draw(_some(running)))
            steps["stop"] = lambda data: world.stop(world.workers.index(worker))
        return steps

    def _sweeper_steps(self) -> Steps:
        """Its steps that find something, and now and then another."""
        world, model = self.world, self.world.model
        steps: Steps = {}
        if any(row.overdue for row in model.rows.values()):
            steps["look for overdue"] = lambda data: world.look_for_overdue(data.draw(st.booleans()))
        if not all(model.leases.values()):
            steps["leases"] = lambda data: world.sweep_leases()
        if any(row.lease is not None and row.lease not in model.leases for row in model.rows.values()):
            steps["unknown leases"] = lambda data: world.republish_unknown()
        if any(row.retry is not None for row in model.rows.values()):
            steps["retries"] = lambda data: world.republish_retries()
        if model.watermarks and any(row.lease is None and row.outcome is None for row in model.rows.values()):
            steps["undelivered"] = lambda data: world.republish_undelivered()
        if world.overdue:
            steps["time_out"] = lambda data: world.time_out()
        if any(row.outcome is not None for row in model.rows.values()):
            steps["deliver"] = lambda data: world.deliver()
        if world.delivered:
            steps["delete delivered"] = lambda data: world.delete_delivered()
        return steps

    def _faults(self) -> Faults:
        world, workers = self.world, st.integers(0, len(self.world.workers) - 1)
        faults: Faults = {
            "worker renews": lambda data: world.worker_renews(
                world.workers[data.draw(workers)], data.draw(st.booleans())
            ),
            "worker dies": lambda data: world.worker_dies(data.draw(workers)),
            "enqueuer dies": lambda data: self._enqueuer_dies(data.draw(st.sampled_from(ENQUEUERS)), data),
            "deadline passes": lambda data: world.deadline_passes(
                data.draw(st.sampled_from(sorted(world.model.rows) or JOBS))
            ),
        }
        live = [worker.lease for worker in world.workers if world.model.leases.get(worker.lease)]
        if live:
            faults["lease runs out"] = lambda data: world.run_out(data.draw(st.sampled_from(live)))
        if world.unasked():
            faults["workflow asks"] = self._ask
        wanted = [activity for activity in world.activities if activity.wanted]
        if wanted:
            faults["workflow task times out"] = lambda data: self._given_up(data.draw(st.sampled_from(wanted)), data)
        if world.stream:
            faults["stream loses"] = lambda data: world.stream.remove(data.draw(st.sampled_from(world.stream)))
        if PLAIN[0] not in world.model.rows:
            faults["plain job"] = lambda data: world.do(world.enqueue_plain())
        return faults

    def _ask(self, data: st.DataObject) -> None:
        jobs = data.draw(_some(self.world.unasked()))
        self.world.activities.append(Activity(data.draw(st.sampled_from(ENQUEUERS)), jobs, data.draw(_rarely_false)))

    def _given_up(self, activity: Activity, data: st.DataObject) -> None:
        """Temporal runs the workflow task again, elsewhere."""
        activity.wanted = False
        if jobs := [job for job in activity.jobs if not self.world.heard[job]]:
            again = Activity(1 - activity.enqueuer, jobs, data.draw(_rarely_false))
            self.world.activities.append(again)
            if data.draw(st.booleans()):
                self.world.do(self.world.insert(again))

    def _enqueuer_dies(self, number: int, data: st.DataObject) -> None:
        world = self.world
        dead = [activity for activity in world.activities if activity.enqueuer == number]
        for activity in dead:
            if activity.wanted:
                self._given_up(activity, data)
        world.activities = [activity for activity in world.activities if activity not in dead]
        world.enqueuers[number] = world.granted("enqueuer")


def come_to_an_end(world: Actors) -> None:
    """Let everybody do what is to be done, one after the other, until nothing is left."""
    mine = {worker.lease for worker in world.workers}
    for lease in [lease for lease, lives in world.model.leases.items() if lives and lease not in mine]:
        world.run_out(lease)
    for job in world.unasked():
        if job in world.asked:
            world.activities.append(Activity(0, [job], waits=False))
    for _ in range(4):
        _one_round(world)
    assert not world.model.rows, f"rows are left: {world.model.rows}"
    missing = [job for job in world.asked if not world.heard[job]]
    assert not missing, f"no outcome of: {missing}"


def _one_round(world: Actors) -> None:
    for activity in list(world.activities):
        if not activity.inserted:
            world.do(world.insert(activity))
        world.do(world.adopt(activity))
        world.do(world.forgo(activity))
        world.do(world.end_wait(activity, recorded=True))
    world.time_passes()
    for worker in world.workers:
        world.worker_renews(worker, stream_empty=True)
    for sweep in (world.sweep_leases, world.republish_unknown, world.republish_retries, world.republish_undelivered):
        world.do(sweep())
    for worker in world.workers:
        world.do(world.claim(worker, sorted((set(world.stream) | worker.claiming) - set(worker.held))))
        for job in in_phase(worker, RUNNING):
            world.do(world.delete(worker, [job]) if job in PLAIN else world.store_outcomes(worker, [job]))
        world.do(world.signal(worker))
        world.do(world.delete(worker, in_phase(worker, SIGNALLED)))
    while world.unread:
        world.do(world.delete_read())
    for sweep in (world.deliver, world.delete_delivered, world.delete_unread):
        world.do(sweep())


@pytest.mark.timeout(600)  # hundreds of examples, each of them dozens of statements
def test_interleavings(database: Database) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        store = Store(database.url, runner)
        try:

            class Connected(Machine):
                pass

            Connected.store = store
            run_state_machine_as_test(
                Connected,
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=30,
                    deadline=None,
                    derandomize=False,
                    print_blob=True,
                    report_multiple_bugs=False,
                    phases=(Phase.reuse, Phase.generate),  # shrinking takes minutes, and the blob says everything
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            store.close()
