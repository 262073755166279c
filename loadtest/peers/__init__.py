"""Other queues in PostgreSQL for Python, on the same load as ours.

All have one worker process, the same PostgreSQL with the same settings, the same number of rows and payload, and a
handler that only writes down that it ran. Each is used as its documentation advises for throughput, with the values
that were fastest on two cores. They do not promise the same:

delegator
    Runs a job at least once. Jobs of a dead worker run again when its lease has expired (15 s); whoever was taken for
    dead can't finish them any more (fences). The same id enqueued twice is one job. Work is found by decoding the log
    and claimed by id. Needs the relay (or Sequin) and the sweeper as processes of their own.
pgqueuer
    Runs a job at least once. Jobs of a dead worker run again when they miss a heartbeat (30 s), without a fence.
    Enqueued once with a dedupe key. Work is found by NOTIFY and SKIP LOCKED, many jobs at a time. Each finished job
    leaves a row in a log. Needs no other process.
procrastinate
    Runs a job once, unless a task of one's own retries those of dead workers. Enqueued once with a queueing lock. Work
    is found by NOTIFY and SKIP LOCKED, one job at a time, and each is finished by a statement of its own. Needs no
    other process.
"""
