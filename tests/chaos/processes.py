"""Processes that are killed, and processes that are paused."""

from __future__ import annotations

import signal

from tests.chaos.arena import INLINE, LEASE, SIGNALLED, Arena, Process, eventually
from tests.chaos.load import LONG, SCALE, Finish, Load


async def fresh_enqueuer(field: Arena) -> Process:
    """Return the inline enqueuer as a new process, which waits for every type.

    One that has seen slow jobs of a type in an earlier scenario may not wait for that type (`InlinePolicy`).
    """
    enqueuer = field.enqueuers[INLINE]
    await field.kill(enqueuer)
    await enqueuer.start()
    return enqueuer


async def test_kill_workers_repeatedly(field: Arena, finish: Finish) -> None:
    load = Load(field, "kill -9 a worker, repeatedly", SIGNALLED)
    for turn in range(8 if LONG else 2):
        await load.add(3 * SCALE, 15, ms=lambda number: 100 + number * 53 % 400)
        victim = field.http[turn % 2]
        await load.noted("start", 8 * SCALE, pid=victim.pid)
        load.fault_ended = await field.kill(victim)
        await victim.start()
    outcome = await finish(load)
    assert outcome.excused


async def test_kill_the_only_workers(field: Arena, finish: Finish) -> None:
    load = Load(field, "kill -9 all workers", INLINE)
    await load.add(6 * SCALE, 12, ms=lambda number: 100 + number * 53 % 400)
    for victim in field.http:
        await load.noted("start", 5, pid=victim.pid)
        await field.kill(victim)
    for victim in field.http:
        await victim.start()
    load.fault_over()
    await finish(load)


async def test_kill_the_relay(field: Arena, finish: Finish) -> None:
    load = Load(field, "kill -9 the relay", INLINE)
    for turn in range(5 if LONG else 1):
        await load.add(6 * SCALE, 15)
        await load.noted("start", 5 * (turn + 1))
        await field.relay.kill()
        await field.relay.start()
        load.fault_over()
    await finish(load)


async def test_kill_the_leader_and_a_worker(field: Arena, finish: Finish) -> None:
    load = Load(field, "kill -9 the sweeper's leader and a worker", SIGNALLED)
    dead: list[Process] = []
    for turn in range(5 if LONG else 1):
        for process in dead:
            await process.start()
        await load.add(6 * SCALE, 15)
        victim = field.http[turn % 2]
        await load.noted("start", 5, pid=victim.pid)
        leader = await field.leader()
        await leader.kill()
        load.fault_ended = await field.kill(victim)
        dead = [leader, victim]
    await finish(load)


async def test_kill_enqueuer_in_inline_wait(field: Arena, finish: Finish) -> None:
    """Jobs complete once although a Temporal worker is killed during its inline wait."""
    load = Load(field, "kill -9 an enqueuer in its inline wait", INLINE)
    victim = await fresh_enqueuer(field)
    for _ in range(5 if LONG else 1):
        await load.add(6 * SCALE, 8, ms=lambda number: 300 + number * 53 % 400)
        await eventually(lambda: field.rows("waiter_id IS NOT NULL AND outcome IS NULL"), what="a waiting enqueuer")
        load.fault_ended = await field.kill(victim)
        await victim.start()
    outcome = await finish(load)
    assert not outcome.doubles


async def test_kill_enqueuer_before_history(field: Arena, finish: Finish) -> None:
    """The outcome is read again when the worker dies before its workflow task ends."""
    load = Load(field, "kill -9 an enqueuer between stored result and end of task", INLINE)
    victim = await fresh_enqueuer(field)
    for turn in range(5 if LONG else 1):
        await load.add(6 * SCALE, 6, ms=lambda number: 200 + number * 53 % 200, one_by_one=1)
        await load.noted("start", 6 * (turn + 1))
        victim.signal(signal.SIGSTOP)
        stored = await eventually(lambda: field.rows("outcome IS NOT NULL"), what="stored outcomes")
        assert stored
        load.fault_ended = await field.kill(victim)
        await victim.start()
    outcome = await finish(load)
    assert not outcome.doubles


async def test_pause_worker_past_lease(field: Arena, finish: Finish) -> None:
    """An attempt that completes after its lease has ended changes nothing; the next attempt's result counts."""
    load = Load(field, "SIGSTOP a worker past its lease, SIGCONT", SIGNALLED)
    await load.add(6, 4, ms=lambda number: 1_500, kind="attempt", one_by_one=0)
    victim = field.http[0]
    await load.noted("start", 3, pid=victim.pid)
    victim.signal(signal.SIGSTOP)
    held = await field.note_held(victim)
    assert held
    other = field.http[1]

    async def others_run_them() -> bool:
        running = {
            line["job"]
            for line in load.lines()
            if line["event"] == "start" and line["attempt"] == 2 and line["pid"] == other.pid
        }
        return held <= running

    try:
        await eventually(others_run_them, what="the other worker to run what the paused one held")
    except AssertionError:
        await load.tell()
        raise
    victim.signal(signal.SIGCONT)
    load.fault_over()
    for line in load.lines():
        if line["job"] in held:  # perhaps without having been started: the worker was stopped in between
            load.expected[line["workflow"]][line["number"]] = 2
    await finish(load)


async def test_pause_all_workers(field: Arena, finish: Finish) -> None:
    """Jobs that are published again while their paused workers still hold them are run, not dropped."""
    load = Load(field, "SIGSTOP all workers past their leases, SIGCONT", INLINE)
    await load.add(6, 6, ms=lambda number: 1_500, one_by_one=0)
    await load.noted("start", 36)
    undelivered = await field.republished("undelivered")
    for victim in field.http:
        victim.signal(signal.SIGSTOP)
    held = await field.note_held(*field.http)
    assert held

    async def republished() -> bool:
        return not await field.rows("job_id = ANY(%s) AND lease_id IS NOT NULL", list(held))

    await eventually(republished, within=LEASE + 5, what="the sweeper to republish what the paused workers held")
    for victim in field.http:
        victim.signal(signal.SIGCONT)
    load.fault_over()
    await finish(load)
    assert await field.republished("undelivered") == undelivered


async def test_kill_enqueuer_after_reading(field: Arena, finish: Finish) -> None:
    """Outcomes are read again when the worker dies after it read them, in a workflow task that had not ended."""
    load = Load(field, "kill -9 an enqueuer after it read results, in the same task", INLINE)
    victim = await fresh_enqueuer(field)
    for turn in range(5 if LONG else 1):
        # So many that a worker which starts again replays all that are open within a task's timeout, of which there
        # are two in a row for a task that was started by its predecessor, and a pause after them.
        await load.add(6, 6, ms=lambda number: 150, one_by_one=6)
        await load.noted("end", turn * 36 + 18)
        load.fault_ended = await field.kill(victim)
        await victim.start()
    outcome = await finish(load)
    assert not outcome.doubles
