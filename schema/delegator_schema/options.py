"""The keys of the `options` column. It holds a call's options. Durations are whole milliseconds."""

from typing import Final

START_TO_CLOSE_MS: Final = "start_to_close_ms"
SCHEDULE_TO_CLOSE_MS: Final = "schedule_to_close_ms"
SCHEDULE_TO_START_MS: Final = "schedule_to_start_ms"
HEARTBEAT_MS: Final = "heartbeat_ms"
INLINE_WAIT_MS: Final = "inline_wait_ms"
"""Only in enqueue requests. Only the enqueuer needs it, so no row holds it."""
RETRY: Final = "retry"
"""The retry policy, a JSON object."""
REFUSED: Final = "refused"
"""Only in rows of jobs that a worker could not begin: a JSON object of `REFUSED_REASON` and `REFUSED_MS`."""
REFUSED_REASON: Final = "reason"
"""Within `REFUSED`: why the last worker refused the job, a `delegator.postgres.dead_letters.Reason`."""
REFUSED_MS: Final = "ms"
"""Within `REFUSED`: the sum of the delays after which the job was offered again."""
