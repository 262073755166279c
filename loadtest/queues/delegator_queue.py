"""Our queue: jobs go through the Enqueuer, the write-ahead log and the stream to one http-worker. Plain, or ordered."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType

from delegator_schema.columns import DEAD_LETTER_TABLE
from delegator_schema.queues import queue_table
from psycopg import sql
from pydantic import SecretStr

from delegator.config import Settings
from delegator.contracts import delegated_type
from delegator.enqueue.enqueuer import Enqueuer
from delegator.postgres.connections import Connection, connection_pool
from delegator.postgres.queue_table import NewJob, QueueTable
from delegator.runtime.temporal_client import load_data_converter
from delegator.wire.codec import encode_payloads
from delegator.wire.values import ValueConverter, is_default
from loadtest.queues.contender import Contender, Enqueue
from loadtest.queues.executions import swallow
from loadtest.queues.load import NUMBER_DIGITS
from loadtest.servers.crew import WorkerProcess
from loadtest.servers.stack import database_url

_TYPE = delegated_type(swallow)
_CONCURRENCY = 1_000
_CONNECTIONS = 4


class DelegatorQueue(Contender):
    """Jobs without a workflow, on the default queue, with default settings."""

    name = "delegator"
    batch = 1_000
    producers = 2
    tables = (queue_table(_TYPE.queue),)
    settings = MappingProxyType({"claim": "lease", "concurrency": _CONCURRENCY, "batch": batch, "producers": producers})
    ordered = False

    @staticmethod
    def options(payload: bytes) -> str | None:
        """Return the `options` column of the job with a payload."""
        return None

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Prepare.

        Args:
            environment: leads to the servers; added to this process's own.

        Raises:
            ConfigurationError: a setting is not valid.
        """
        url = environment.get("DELEGATOR_DATABASE_URL")
        self._environment = environment
        self._prefix = ""
        self._settings = Settings.load(database_url=None if url is None else SecretStr(url))

    @property
    def database_url(self) -> str:
        """URL of the queue's database."""
        return database_url(self._settings)

    @property
    def worker(self) -> WorkerProcess:
        """One http-worker process."""
        return WorkerProcess(
            name="http-worker",
            argv=(
                *(sys.executable, "-m", "http_workers", "--import", "loadtest.queues.executions"),
                *("--queue", _TYPE.queue, "--concurrency", str(_CONCURRENCY)),
            ),
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that lead to the servers."""
        return self._environment

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[Enqueue]:
        """Open the Enqueuer."""
        converter = load_data_converter(self._settings.data_converter)
        codec = converter.payload_codec
        encode = ValueConverter(converter.payload_converter, is_default=is_default(converter)).encode
        self._prefix = f"bulk-{uuid.uuid4().hex[:12]}-"

        def job(payload: bytes, data: bytes) -> NewJob:
            return NewJob(
                job_id=self._prefix + payload[:NUMBER_DIGITS].decode(),
                job_type=_TYPE.name,
                input=data,
                header=None,
                options=self.options(payload),
                workflow_id=None,
                run_id=None,
                task_token=None,
                deadline_ms=None,
                waiter_id=None,
            )

        async with (
            connection_pool(self.database_url, application_name="loadtest", size=_CONNECTIONS) as pool,
            Enqueuer(pool, [QueueTable(_TYPE.queue, ordered=self.ordered)], None) as enqueuer,
        ):

            async def enqueue(payloads: Sequence[bytes]) -> None:
                inputs = [encode((payload,)) for payload in payloads]
                if codec is not None:
                    inputs = [await encode_payloads(data, codec) for data in inputs]
                await enqueuer.enqueue(_TYPE.queue, list(map(job, payloads, inputs)))

            yield enqueue

    async def clear(self, connection: Connection) -> None:
        """Delete the run's rows from the queue and from the dead letters."""
        for table in (queue_table(_TYPE.queue), DEAD_LETTER_TABLE):
            delete = sql.SQL("DELETE FROM {} WHERE starts_with(job_id, %s)").format(sql.Identifier(table))
            await connection.execute(delete, (self._prefix,))


class OrderedQueue(DelegatorQueue):
    """The same, as an ordered queue: ten tenants share it, and half of the jobs have another priority."""

    name = "ordered"
    ordered = True

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that lead to the servers, and that declare the queue as ordered."""
        return {**super().environment, "DELEGATOR_ORDERED_QUEUES": _TYPE.queue}

    @staticmethod
    def options(payload: bytes) -> str | None:
        """Return the `options` column of the job with a payload."""
        number = int(payload[:NUMBER_DIGITS], 16)
        return f'{{"fairness_key":"tenant-{number % 10}","priority_key":{2 + number % 2}}}'
