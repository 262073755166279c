"""The outbox for synchronous applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

from delegator_schema.queues import DEFAULT_QUEUE
from temporalio.converter import DataConverter

from delegator.config import Settings
from delegator.outbox.asynchronous import AsyncOutbox
from delegator.outbox.calls import cancel, encoder_for, new_jobs, signal, signal_with_start, start
from delegator.outbox.connections import Transaction, run
from delegator.outbox.encoder import Headers, Statement
from delegator.outbox.jobs import PlainJob, PlainJobOptions, plain_job
from delegator.outbox.loop_thread import LoopThread, run_at_once
from delegator.outbox.workflows import Asked, StartOptions

R = TypeVar("R")
Ts = TypeVarTuple("Ts")
Us = TypeVarTuple("Us")


class Outbox:
    """Writes jobs and operations on workflows within the application's transaction.

    They take effect if and when the transaction commits. No method opens a connection, commits, rolls back, or leaves
    the transaction aborted. An outbox may be shared by threads. `outbox.aio` has the same methods for asynchronous
    connections.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        data_converter: DataConverter | None = None,
        namespace: str | None = None,
        *,
        schema: str | None = None,
        notify: bool | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Prepare an outbox.

        Args:
            settings: by default read from the environment.
            data_converter: the data converter of the workers; by default what `DELEGATOR_DATA_CONVERTER` names.
            namespace: Temporal's namespace of the workflows; by default that of `delegator serve`.
            schema: where the engine's tables are; by default what `DELEGATOR_SCHEMA` names, or `public`. The
                connection's search_path does not matter.
            notify: wake the maintenance process when the transaction commits; by default as `DELEGATOR_OUTBOX_NOTIFY`
                says. A transaction that is prepared (two-phase commit) can't notify.
            headers: returns headers for what is written, by its name, such as `StartWorkflow:Order`. For traces:
                `delegator.tracing.TracingInterceptor().outgoing`.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        encoder = encoder_for(settings, data_converter, namespace, schema=schema, notify=notify, headers=headers)
        self._encoder = encoder
        self._thread = LoopThread()
        self.aio = AsyncOutbox(encoder)
        """The outbox for asynchronous connections."""

    @overload
    def enqueue(
        self,
        transaction: Transaction,
        function: Callable[[*Ts], Awaitable[Any]],
        /,
        *args: *Ts,
        autocommit: bool = False,
        **options: Unpack[PlainJobOptions],
    ) -> bool: ...
    @overload
    def enqueue(
        self,
        transaction: Transaction,
        function: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        autocommit: bool = False,
        **options: Unpack[PlainJobOptions],
    ) -> bool: ...
    @overload
    def enqueue(
        self,
        transaction: Transaction,
        function: str,
        /,
        *args: Any,
        queue: str = DEFAULT_QUEUE,
        autocommit: bool = False,
        **options: Unpack[PlainJobOptions],
    ) -> bool: ...
    def enqueue(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
        self, transaction: Transaction, function: Any, /, *args: Any, autocommit: bool = False, **options: Any
    ) -> bool:
        """Enqueue a plain job: a job that no workflow waits for.

        Args:
            transaction: a psycopg connection, or a SQLAlchemy session or connection.
            function: what is declared with `@delegated` or `@contract`, or the name of a delegated activity type.
            args: the handler's arguments.
            autocommit: allow a connection without a transaction.
            options: `job_id` (the queue holds each id once; by default a new one), `unique_for` (how long the id stays
                taken, also when the job has ended), `delay` or `due_at` (when the first attempt is due), `keep_result`
                (for `JobResults`), `queue` (for a type given by name), and the options of `delegate`: timeouts,
                `retry_policy`, `priority`.

        Returns:
            Whether the job is new. False: its id is taken.

        Raises:
            ConfigurationError: `function` is not declared, an option is wrong, or there is no transaction.
            ValueError: `job_id` can't be one, or the arguments have more than 2 MB. Nothing was written.
        """
        (is_new,) = self.enqueue_many(transaction, [plain_job(function, *args, **options)], autocommit=autocommit)
        return is_new

    def enqueue_many(
        self, transaction: Transaction, jobs: Sequence[PlainJob], *, autocommit: bool = False
    ) -> list[bool]:
        """Enqueue plain jobs, with one statement for each queue.

        Args:
            transaction: as for `enqueue`.
            jobs: what `plain_job` returned.
            autocommit: as for `enqueue`.

        Returns:
            For each job whether it is new.
        """
        statements, ids = self._run(self._encoder.jobs(jobs))
        return new_jobs(ids, [self._write(transaction, one, autocommit) for one in statements])

    @overload
    def start_workflow(
        self,
        transaction: Transaction,
        workflow: Callable[[Any, *Ts], Awaitable[Any]],
        /,
        *args: *Ts,
        id: str,
        task_queue: str,
        key: str | None = None,
        autocommit: bool = False,
        **options: Unpack[StartOptions],
    ) -> bool: ...
    @overload
    def start_workflow(
        self,
        transaction: Transaction,
        workflow: str,
        /,
        *args: Any,
        id: str,
        task_queue: str,
        key: str | None = None,
        autocommit: bool = False,
        **options: Unpack[StartOptions],
    ) -> bool: ...
    def start_workflow(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
        self,
        transaction: Transaction,
        workflow: Any,
        /,
        *args: Any,
        id: str,
        task_queue: str,
        key: str | None = None,
        autocommit: bool = False,
        **options: Any,
    ) -> bool:
        """Start a workflow when the transaction has committed.

        Args:
            transaction: as for `enqueue`.
            workflow: the workflow's `@workflow.run` method, or its name.
            args: the workflow's arguments.
            id: the workflow's id.
            task_queue: the workflow's task queue.
            key: an idempotency key of your own. A second operation with the same key is not written while the first one
                waits. After that Temporal takes both for one, by their request id.
            autocommit: as for `enqueue`.
            options: as for `Client.start_workflow`: timeouts, policies, memo, search attributes, ...

        Returns:
            Whether the operation was written. False: one with this key waits.

        Raises:
            ConfigurationError: `workflow` is not one, an option is wrong, or there is no transaction.
            ValueError: an id is not a text, or the payloads have more than 2 MB. Nothing was written.
        """
        asked = start(workflow, args, id=id, task_queue=task_queue, key=key, **options)
        return self._operation(transaction, asked, autocommit)

    @overload
    def signal_workflow(
        self,
        transaction: Transaction,
        id: str,
        signal: Callable[[Any, *Ts], Any],
        /,
        *args: *Ts,
        run_id: str | None = None,
        key: str | None = None,
        autocommit: bool = False,
    ) -> bool: ...
    @overload
    def signal_workflow(
        self,
        transaction: Transaction,
        id: str,
        signal: str,
        /,
        *args: Any,
        run_id: str | None = None,
        key: str | None = None,
        autocommit: bool = False,
    ) -> bool: ...
    def signal_workflow(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
        self,
        transaction: Transaction,
        id: str,
        signal_: Any,
        /,
        *args: Any,
        run_id: str | None = None,
        key: str | None = None,
        autocommit: bool = False,
    ) -> bool:
        """Signal a workflow when the transaction has committed.

        Args:
            transaction: as for `enqueue`.
            id: the workflow's id.
            signal_: the workflow's `@workflow.signal` method, or its name.
            args: the signal's arguments.
            run_id: only this run; by default the latest.
            key: as for `start_workflow`.
            autocommit: as for `enqueue`.

        Returns:
            Whether the operation was written. False: one with this key waits.

        Raises:
            ConfigurationError: `signal_` is not one, or there is no transaction.
            ValueError: as for `start_workflow`.
        """
        return self._operation(transaction, signal(id, signal_, args, run_id=run_id, key=key), autocommit)

    def signal_with_start_workflow(
        self,
        transaction: Transaction,
        workflow: str | Callable[[Any, *Ts], Awaitable[Any]],
        /,
        *args: Any,
        id: str,
        task_queue: str,
        signal: str | Callable[..., Any],
        signal_args: Sequence[Any] = (),
        key: str | None = None,
        autocommit: bool = False,
        **options: Unpack[StartOptions],
    ) -> bool:
        """Signal a workflow when the transaction has committed, and start it first if no run of it is open.

        Args:
            transaction: as for `enqueue`.
            workflow: as for `start_workflow`.
            args: the workflow's arguments.
            id: the workflow's id.
            task_queue: the workflow's task queue.
            signal: the workflow's `@workflow.signal` method, or its name.
            signal_args: the signal's arguments.
            key: as for `start_workflow`.
            autocommit: as for `enqueue`.
            options: as for `start_workflow`.

        Returns:
            Whether the operation was written. False: one with this key waits.

        Raises:
            ConfigurationError: as for `start_workflow`.
            ValueError: as for `start_workflow`.
        """
        asked = signal_with_start(
            workflow, args, id=id, task_queue=task_queue, signal=signal, signal_args=signal_args, key=key, **options
        )
        return self._operation(transaction, asked, autocommit)

    def cancel_workflow(
        self,
        transaction: Transaction,
        id: str,
        /,
        *,
        reason: str | None = None,
        run_id: str | None = None,
        key: str | None = None,
        autocommit: bool = False,
    ) -> bool:
        """Ask a workflow to cancel when the transaction has committed.

        Args:
            transaction: as for `enqueue`.
            id: the workflow's id.
            reason: for people who read the history.
            run_id: only this run; by default the latest.
            key: as for `start_workflow`.
            autocommit: as for `enqueue`.

        Returns:
            Whether the operation was written. False: one with this key waits.
        """
        return self._operation(transaction, cancel(id, reason=reason, run_id=run_id, key=key), autocommit)

    def _operation(self, transaction: Transaction, asked: Asked, autocommit: bool) -> bool:
        return bool(self._write(transaction, self._run(self._encoder.operation(asked)), autocommit))

    def _write(self, transaction: Transaction, statement: Statement, autocommit: bool) -> list[str]:
        return run(transaction, statement.sql, statement.rows, autocommit=autocommit)

    def _run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        return self._thread.run(coroutine) if self._encoder.waits else run_at_once(coroutine)
