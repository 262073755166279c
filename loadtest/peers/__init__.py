"""Other Python queues in PostgreSQL, on the same load as ours.

All have one worker process, the same PostgreSQL with the same settings, the same number of rows, the same payload, and
a handler that only records that it ran. Each is used as its documentation advises for throughput, with the values that
were fastest on two cores. They do not promise the same:

delegator
    Runs a job at least once. Jobs of a dead worker run again when its lease has expired (15 s). A worker that was only
    slow can't complete them any more, because of the fencing token. The same id enqueued twice is one job. Work is
    found by decoding the log and claimed by id. It needs the relay (or Sequin) and the sweeper as other processes.
pgqueuer
    Runs a job at least once. Jobs of a dead worker run again when they miss a heartbeat (30 s), without a fencing
    token. A job with a dedupe key is enqueued once. Work is found by NOTIFY and SKIP LOCKED, many jobs at a time. Each
    finished job leaves a row in a log. It needs no other process.
procrastinate
    Runs a job once, unless the user writes a task that retries jobs of dead workers. A job with a queueing lock is
    enqueued once. Work is found by NOTIFY and SKIP LOCKED, one job at a time, and each is finished by a statement of
    its own. It needs no other process.
"""
