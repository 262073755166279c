"""Rows in flight of every kind: written by the engine's own statements, kept as SQL, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import orjson
import psycopg
from delegator_schema.columns import DEAD_LETTER_TABLE, FORMAT_VERSION
from delegator_schema.queues import BASE_TABLE, DEFAULT_QUEUE
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from temporalio.api.common.v1 import Header, Payload
from temporalio.api.enums.v1 import RetryState
from temporalio.common import RetryPolicy
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from delegator.completion.failures import NO_TIME_TO_RETRY, failed_outcome, failure_of
from delegator.contracts import JobOptions
from delegator.dev.temporal import NAMESPACE
from delegator.postgres import leases
from delegator.postgres.connections import connect
from delegator.postgres.dead_letters import NewDeadLetter, Reason, store_dead_letters
from delegator.postgres.queue_table import AttemptOutcome, NewJob, NextAttempt, QueueTable
from delegator.wire.codec import encode_outcome, encode_payloads
from delegator.wire.options import encode_options
from delegator.wire.outcomes import Outcome, OutcomeStatus
from delegator.wire.values import ValueConverter, is_default

WORKFLOW_ID: Final = "stored-workflow"
"""Stands in the files where a test puts the id of its own workflow."""
RUN_ID: Final = "00000000000040008000000000000001"
"""Stands in the files where a test puts the id of its own run."""
_WAITER: Final = 9_000_000

OUTCOMES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "waiting": 42,
        "policy": ["MAXIMUM_ATTEMPTS_REACHED", "Unlucky", "attempt 2", []],
        "backing-off": ["page", 12, 2],
        "overdue": ["TIMEOUT", "TimeoutError", NO_TIME_TO_RETRY, ["Refused: refused: stored"]],
        "completed-inline": 42,
        "completed-signal": 42,
        "failed-inline": ["NON_RETRYABLE_FAILURE", "Refused", "refused: stored", [{"reason": "stored"}]],
        "failed-signal": ["NON_RETRYABLE_FAILURE", "Refused", "refused: stored", [{"reason": "stored"}]],
        "dead": 42,
    }
)
"""What the workflow that waits for the stored jobs gets of each."""

_TIMES: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("policy", "deadline"): "now() + interval '10 minutes'",
        ("backing-off", "retry_at"): "now()",
        ("overdue", "retry_at"): "now() + interval '1 hour'",
        ("overdue", "deadline"): "now() - interval '1 second'",
    }
)
"""What a file says for moments, which would be long past when it is loaded."""
_USUAL_TIMES: Final[Mapping[str, str]] = MappingProxyType(
    {"enqueued_at": "now()", "published_at": "now()", "died_at": "now()", "completed_at": "now() - interval '1 minute'"}
)
_LEFT_OUT: Final = ("fencing_token", "dead_letter_id")


def job_id_of(name: str, version: int = FORMAT_VERSION) -> str:
    return f"v{version}-{name}"


class RowWriter:
    """Puts every kind of row into a fresh database."""

    def __init__(self, database_url: str, converter: DataConverter) -> None:
        self._url = database_url
        self._converter = converter
        self._codec = converter.payload_codec
        self._values = ValueConverter(converter.payload_converter, is_default=is_default(converter))
        self._table = QueueTable(DEFAULT_QUEUE)

    async def write(self) -> str:
        """Write the rows and return them as SQL."""
        connection = await connect(self._url, application_name="record")
        async with connection:
            await self._table.insert(connection, NAMESPACE, [await self._job(name) for name in OUTCOMES])
            lease = await leases.grant(connection, "worker", "recorded", DEFAULT_QUEUE, timedelta(minutes=1))
            names = [name for name in OUTCOMES if name not in ("waiting", "policy")]
            claimed, _ = await self._table.claim(connection, [(job_id_of(name), 0) for name in names], lease)
            tokens = {row.job_id: row.fencing_token for row in claimed}
            await self._back_off(connection, tokens)
            await self._complete(connection, tokens)
        return await dump(self._url)

    async def _job(self, name: str) -> NewJob:
        args: Sequence[Any] = {"policy": (), "backing-off": ()}.get(name, (21,))
        options: dict[str, Any] | None = None
        if name == "policy":
            retry = RetryPolicy(
                initial_interval=timedelta(milliseconds=10),
                backoff_coefficient=1.5,
                maximum_interval=timedelta(seconds=1),
                maximum_attempts=2,
                non_retryable_error_types=["Refused"],
            )
            seconds = timedelta(seconds=1)
            options = encode_options(
                JobOptions(
                    start_to_close_timeout=30 * seconds,
                    schedule_to_close_timeout=600 * seconds,
                    schedule_to_start_timeout=300 * seconds,
                    heartbeat_timeout=20 * seconds,
                    retry_policy=retry,
                )
            )
        header = Header(fields={"trace": Payload(metadata={"encoding": b"json/plain"}, data=b'"abc"')})
        job_types = {"policy": "unlucky", "backing-off": "resume"}
        waits_inline = name.startswith(("completed", "failed"))
        return NewJob(
            job_id=job_id_of(name),
            job_type=job_types.get(name, "refuse" if name.startswith("failed") else "double"),
            input=await self._encoded(*args),
            header=header.SerializeToString() if name == "waiting" else None,
            options=None if options is None else orjson.dumps(options).decode(),
            workflow_id=WORKFLOW_ID,
            run_id=RUN_ID,
            task_token=None,
            deadline_ms=600_000 if name in ("policy", "overdue") else None,
            waiter_id=_WAITER if waits_inline else None,
        )

    async def _encoded(self, *values: Any) -> bytes | None:
        return await encode_payloads(self._values.encode(values), self._codec) or None

    async def _back_off(self, connection: psycopg.AsyncConnection[Any], tokens: dict[str, int]) -> None:
        resumed, overdue = job_id_of("backing-off"), job_id_of("overdue")
        details = await self._encoded("page", 12)
        assert details is not None
        await self._table.heartbeat(connection, [(resumed, tokens[resumed], details)])
        failure = failure_of(_refused(), self._converter).SerializeToString()
        encoded = await encode_outcome(Outcome(OutcomeStatus.FAILED, failure), self._codec)
        delay_ms = 3_600_000
        await self._table.retry(
            connection, [NextAttempt(job_id, tokens[job_id], delay_ms, encoded, 1) for job_id in (resumed, overdue)]
        )

    async def _complete(self, connection: psycopg.AsyncConnection[Any], tokens: dict[str, int]) -> None:
        failed = failed_outcome(
            failure_of(_refused(), self._converter),
            job_id="stored",
            job_type="refuse",
            identity="recorded",
            retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
        )
        failure = await encode_outcome(failed, self._codec)
        result = await self._encoded(42)
        assert result is not None
        done = {name: result if name.startswith("completed") else failure for name in OUTCOMES if "-" in name}
        done = {name: body for name, body in done.items() if name.startswith(("completed", "failed"))}
        outcomes = [
            AttemptOutcome(job_id_of(name), tokens[job_id_of(name)], name.partition("-")[0], body)
            for name, body in done.items()
        ]
        assert len(await self._table.store_outcomes(connection, outcomes)) == len(done)
        await self._table.hand_over(connection, [job_id_of(name) for name in done if name.endswith("signal")])
        dead = job_id_of("dead")
        letter = NewDeadLetter(dead, tokens[dead], "failed", failure, Reason.ATTEMPTS_EXHAUSTED, "Refused")
        await store_dead_letters(connection, self._table, [letter])
        await self._table.delete_held(connection, [(dead, tokens[dead])])


def _refused() -> ApplicationError:
    return ApplicationError("refused: stored", {"reason": "stored"}, type="Refused", non_retryable=True)


async def dump(database_url: str) -> str:
    """Return the rows of the queue and the dead letters as INSERT statements."""
    lines = []
    async with await psycopg.AsyncConnection.connect(database_url, row_factory=dict_row) as connection:
        for table in (BASE_TABLE, DEAD_LETTER_TABLE):
            query = sql.SQL("SELECT * FROM {} ORDER BY job_id").format(sql.Identifier(table))
            rows = await (await connection.execute(query)).fetchall()
            lines += [_insert(table, row, connection) for row in rows]
    return "\n".join(lines)


def _insert(table: str, row: Mapping[str, Any], connection: psycopg.AsyncConnection[Any]) -> str:
    name = str(row["job_id"]).partition("-")[2]
    values: dict[str, str] = {}
    for column, value in row.items():
        if value is None or column in _LEFT_OUT:
            continue
        moment = _TIMES.get((name, column)) or _USUAL_TIMES.get(column)
        literal = Jsonb(value) if isinstance(value, dict) else value
        values[column] = moment or sql.Literal(literal).as_string(connection)
    assignments = ",\n".join(f"    {value}" for value in values.values())
    return f"INSERT INTO {table}\n    ({', '.join(values)})\nVALUES (\n{assignments}\n);\n"
