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
ASYNCHRONOUS_UNTIL_MS: Final = "asynchronous_until_ms"
"""Only in rows: when the attempt that a client completes exceeds its start-to-close timeout, in ms since 1970."""
WORKFLOW_TYPE: Final = "workflow_type"
"""The type of the workflow, for `activity.info()`. Only in rows, and only beside other options."""
