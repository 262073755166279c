"""Declares the columns of every table. Models, statements and checks take their lists from here.

Processes that read and write rows import this module and not the models: SQLAlchemy would take a quarter of their
start. To add a column: declare it here, let Atlas plan the migration, and name it in the row type of the
statement that uses it (`NewJob`, `Claimed`, `NewDeadLetter`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from delegator_schema.queues import BASE_TABLE

LEASE_TABLE = "custom_task_lease"
DEAD_LETTER_TABLE = "custom_task_dead_letter"
RATE_TABLE = "custom_task_rate"
OUTBOX_TABLE = "custom_task_outbox"
UNIQUE_TABLE = "custom_task_unique"
PAUSE_TABLE = "custom_task_pause"

FORMAT_VERSION = 1
"""The version of a row's content (`input`, `header`, `options`, `result`). A reader refuses a later version by name."""

_NOW = "now()"
# Unlike `now()` it does not stand still while a transaction goes on. A job is enqueued when its row is inserted,
# however long ago the transaction began.
_CLOCK = "clock_timestamp()"
# The id of the transaction that inserts the row. So a streamed row says which transaction inserted it.
_TRANSACTION_ID = "((pg_current_xact_id())::text)::bigint"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    """The column's name."""
    type: str
    """PostgreSQL's name of its type."""
    meaning: str
    """What the value means."""
    nullable: bool = False
    """Whether it may be NULL."""
    default: str | None = None
    """SQL expression of the default; None: there is no default."""
    is_identity: bool = False
    """PostgreSQL numbers the rows. It uses no number twice."""


QUEUE_COLUMNS = (
    Column(
        "job_id", "text", "Unique; derived from the workflow or given by the caller. The handler's idempotency key."
    ),
    Column("job_type", "text", "The delegated activity type."),
    Column(
        "input",
        "bytea",
        "The arguments: `temporal.api.common.v1.Payloads` through the payload codec. NULL: no arguments.",
        nullable=True,
    ),
    Column("header", "bytea", "`temporal.api.common.v1.Header` of the call. NULL: none.", nullable=True),
    Column(
        "options",
        "jsonb",
        "The call's options: timeouts in ms, retry policy. NULL: the defaults.",
        nullable=True,
    ),
    Column(
        "namespace",
        "text",
        "Temporal namespace whose workflow waits for the outcome. NULL: no workflow waits (a plain job).",
        nullable=True,
    ),
    Column("workflow_id", "text", "Workflow that waits for the outcome by signal.", nullable=True),
    Column("run_id", "uuid", "Run of that workflow that enqueued the job.", nullable=True),
    Column(
        "task_token",
        "bytea",
        "Token of the Temporal activity task that waits for the outcome. NULL: no task waits.",
        nullable=True,
    ),
    Column("enqueued_at", "timestamp with time zone", "When the job was first enqueued.", default=_CLOCK),
    Column(
        "published_at",
        "timestamp with time zone",
        "When this row was last inserted. The stream carries each insert.",
        default=_CLOCK,
    ),
    Column(
        "deadline",
        "timestamp with time zone",
        "When the job times out: by its schedule-to-close or, before its first claim, its schedule-to-start timeout.",
        nullable=True,
    ),
    Column(
        "attempt",
        "integer",
        "How many times the job was claimed to be run; the number of the current attempt while it runs.",
        default="0",
    ),
    Column(
        "lease_id",
        "bigint",
        f"The lease (`{LEASE_TABLE}`) under which a worker holds the job. NULL: no worker holds it.",
        nullable=True,
    ),
    Column(
        "fencing_token",
        "bigint",
        "Grows with every claim and every republication; every statement that ends an attempt matches it.",
        default=_TRANSACTION_ID,
    ),
    Column(
        "retry_at",
        "timestamp with time zone",
        "When the next attempt is due, while the job backs off. With a lease: when an attempt that a client completes "
        "times out. NULL otherwise.",
        nullable=True,
    ),
    Column("cancel_requested", "boolean", "The workflow asked a running job to stop.", default="false"),
    Column(
        "waiter_id",
        "bigint",
        "Lease of the enqueuer whose local activity waits for the outcome inline. NULL: signal the outcome.",
        nullable=True,
    ),
    Column(
        "outcome",
        "text",
        "`completed`, `failed` or `canceled` once the job ended. NULL: unfinished.",
        nullable=True,
    ),
    Column(
        "result",
        "bytea",
        "`Payloads` through the codec: the result, or the failure as a payload of its own.",
        nullable=True,
    ),
    Column("completed_at", "timestamp with time zone", "When the outcome was stored.", nullable=True),
    Column(
        "last_failure",
        "bytea",
        "The failure of the last attempt, in the form of `result`, while the job is retried.",
        nullable=True,
    ),
    Column("heartbeat_details", "bytea", "`Payloads` of the last heartbeat, for the next attempt.", nullable=True),
    Column("format_version", "smallint", "The version of the row's content.", default=str(FORMAT_VERSION)),
    Column(
        "priority",
        "smallint",
        "1 to 5; lower numbers are handed out first. NULL: the job is handed out when the stream brings it.",
        nullable=True,
    ),
    Column(
        "lane",
        "text",
        "The line in which the job waits: its fairness key and its type. NULL: it waits in none.",
        nullable=True,
    ),
    Column(
        "permit",
        "text",
        "The type whose fleet-wide limits count the running job. NULL: none do.",
        nullable=True,
    ),
)
"""A queue's table: each row is one unfinished job. The row is the truth. The stream only says that it exists.

`docs/explanation/job-life.md` shows a job's states, the columns that say so, and who changes them.
"""

LEASE_COLUMNS = (
    Column("lease_id", "bigint", "Never used twice.", is_identity=True),
    Column("role", "text", "`worker` (holds running jobs), `enqueuer` (waits inline for outcomes) or `maintenance`."),
    Column("holder", "text", "The process, for people: `<pid>@<host>`."),
    Column("queue", "text", "The queue that a worker serves. NULL for an enqueuer.", nullable=True),
    Column(
        "job_types",
        "text[]",
        "The types that a worker has handlers for. NULL: not said, as by an enqueuer.",
        nullable=True,
    ),
    Column("granted_at", "timestamp with time zone", "When the lease was granted.", default=_NOW),
    Column(
        "expires_at",
        "timestamp with time zone",
        "By the database's clock. After this time others may take what it holds.",
    ),
    Column(
        "delivery_watermark",
        "timestamp with time zone",
        "The stream offered every row published before this time. A row that is still unclaimed was lost.",
        nullable=True,
    ),
    Column("version", "text", "The release of the process. NULL: one that did not say.", nullable=True),
    Column(
        "renewed_at",
        "timestamp with time zone",
        "When the lease was last renewed. The process knows every pause that began before.",
        nullable=True,
    ),
    Column(
        "report",
        "jsonb",
        "What a worker says of itself with each renewal: its slots, and its jobs that have run longest.",
        nullable=True,
    ),
    Column(
        "cluster",
        "text",
        "The process's Temporal namespace and that namespace's id in its cluster, as `name/id`. NULL: not known.",
        nullable=True,
    ),
)
"""A process's lease. Every job that names it is held while the lease has not expired."""

_CARRIED = ("job_id", "job_type", "input", "header", "options", "namespace", "workflow_id", "run_id")
_BY_NAME = {column.name: column for column in QUEUE_COLUMNS}

DEAD_LETTER_COLUMNS = (
    Column("dead_letter_id", "bigint", "Orders dead letters by arrival.", is_identity=True),
    Column("queue", "text", "The queue that it came from. A replay enqueues it there. `(outbox)`: the outbox."),
    Column("reason", "text", "Why the queue gave the job up: one of `delegator.postgres.dead_letters.Reason`."),
    Column("error", "text", "The error's type. The message is left out, because it may hold what a codec hides."),
    Column("failure", "bytea", "The whole failure, in the form of the queue's `result`.", nullable=True),
    *(_BY_NAME[name] for name in _CARRIED),
    Column("attempt", "integer", "Number of the last attempt. 0: there was none."),
    Column("enqueued_at", "timestamp with time zone", "When the job was first enqueued."),
    Column("died_at", "timestamp with time zone", "When it was given up.", default=_NOW),
    _BY_NAME["format_version"],
    _BY_NAME["priority"],
    Column(
        "operation",
        "text",
        f"The operation of `{OUTBOX_TABLE}` that could not be carried out. NULL: the dead letter is a job.",
        nullable=True,
    ),
)
"""Dead letters: jobs and operations of the outbox that were given up, for people to look at and to replay."""

OUTBOX_COLUMNS = (
    Column("seq", "bigint", "Orders the operations on one workflow.", is_identity=True),
    Column("operation", "text", "`start`, `signal`, `signal_with_start` or `cancel`."),
    Column("namespace", "text", "Temporal namespace. NULL: that of the maintenance process.", nullable=True),
    Column("workflow_id", "text", "The workflow."),
    Column("workflow_type", "text", "Its type, if the operation may start it.", nullable=True),
    Column("task_queue", "text", "Its task queue, if the operation may start it.", nullable=True),
    Column("name", "text", "The signal's name.", nullable=True),
    Column(
        "input",
        "bytea",
        "The workflow's arguments, or those of a signal that starts nothing: `Payloads` through the codec. NULL: none.",
        nullable=True,
    ),
    Column("signal_input", "bytea", "With `signal_with_start`: the signal's arguments. NULL: none.", nullable=True),
    Column(
        "options",
        "jsonb",
        "The other fields of Temporal's request, in its JSON form: timeouts, policies, memo. NULL: none.",
        nullable=True,
    ),
    Column("request_id", "uuid", "By it Temporal recognises a repetition.", default="gen_random_uuid()"),
    Column("key", "text", "The caller's idempotency key. The table holds each once.", nullable=True),
    Column("created_at", "timestamp with time zone", "When the row was inserted.", default=_CLOCK),
    Column("due_at", "timestamp with time zone", "When the next attempt is due.", default=_CLOCK),
    Column("attempt", "integer", "How many attempts Temporal refused.", default="0"),
    Column("refused_since", "timestamp with time zone", "When Temporal first did not find its target.", nullable=True),
    Column("last_error", "text", "The status of the last refusal. The message is left out.", nullable=True),
    Column("format_version", "smallint", "The version of the row's content.", default=str(FORMAT_VERSION)),
)
"""Operations on workflows that applications wrote in their transactions. A row is deleted when Temporal has it."""

UNIQUE_COLUMNS = (
    Column("unique_id", "text", "The queue and the job id: `<queue>/<job_id>`."),
    Column("expires_at", "timestamp with time zone", "Until then no job with this id is enqueued again."),
)
"""Job ids that are taken for a while, also when their jobs have ended."""

RATE_COLUMNS = (
    Column("limit_id", "text", "The queue and the type, and the fairness key of a limit for each key."),
    Column("next_start_at", "timestamp with time zone", "When the rate allows the next start."),
)
"""Rates that all workers of a queue share. A row that lies in the past means the same as none."""

PAUSE_COLUMNS = (
    Column("pause_id", "text", "The queue, or the queue and the type, as `queue/type`."),
    Column("queue", "text", "The queue."),
    Column("job_type", "text", "The delegated activity type. NULL: all types of the queue.", nullable=True),
    Column("paused_at", "timestamp with time zone", "When the pause began.", default=_NOW),
    Column("paused_by", "text", "Who paused it, for people: `<user>@<host>`."),
    Column("note", "text", "Why, in the words of who paused it.", nullable=True),
)
"""Queues and types that are paused: no attempt of their jobs starts, and their deadlines stand still."""

TABLES: Mapping[str, tuple[Column, ...]] = MappingProxyType(
    {
        BASE_TABLE: QUEUE_COLUMNS,
        LEASE_TABLE: LEASE_COLUMNS,
        DEAD_LETTER_TABLE: DEAD_LETTER_COLUMNS,
        RATE_TABLE: RATE_COLUMNS,
        OUTBOX_TABLE: OUTBOX_COLUMNS,
        UNIQUE_TABLE: UNIQUE_COLUMNS,
        PAUSE_TABLE: PAUSE_COLUMNS,
    }
)
"""The columns by table. Every queue's table has the columns of `BASE_TABLE`."""


def column_names(table: str) -> tuple[str, ...]:
    """Return the names of a table's columns, in their order; a queue's table has those of `BASE_TABLE`."""
    return tuple(column.name for column in TABLES.get(table, QUEUE_COLUMNS))


def moved_columns(source: str, target: str) -> tuple[str, ...]:
    """Return the columns that two tables have in common. A row keeps them when it moves from one to the other."""
    wanted = set(column_names(target))
    return tuple(name for name in column_names(source) if name in wanted)
