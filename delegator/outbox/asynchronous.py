"""The outbox for asynchronous applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVarTuple, Unpack, overload

from delegator_schema.queues import DEFAULT_QUEUE

from delegator.outbox.calls import cancel, new_jobs, signal, signal_with_start, start
from delegator.outbox.connections import AsyncTransaction, run_async
from delegator.outbox.encoder import Encoder, Statement
from delegator.outbox.jobs import PlainJob, PlainJobOptions, plain_job
from delegator.outbox.workflows import Asked, StartOptions

Ts = TypeVarTuple("Ts")


class AsyncOutbox:
    """The methods of `Outbox` for asynchronous connections. `Outbox(...).aio` is one."""

    def __init__(self, encoder: Encoder) -> None:
        """Prepare.

        Args:
            encoder: that of the `Outbox`.
        """
        self._encoder = encoder

    @overload
    async def enqueue(
        self,
        transaction: AsyncTransaction,
        function: Callable[[*Ts], Awaitable[Any]],
        /,
        *args: *Ts,
        autocommit: bool = False,
        **options: Unpack[PlainJobOptions],
    ) -> bool: ...
    @overload
    async def enqueue(
        self,
        transaction: AsyncTransaction,
        function: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        autocommit: bool = False,
        **options: Unpack[PlainJobOptions],
    ) -> bool: ...
    @overload
    async def enqueue(
        self,
        transaction: AsyncTransaction,
        function: str,
        /,
        *args: Any,
        queue: str = DEFAULT_QUEUE,
        autocommit: bool = False,
        **options: Unpack[PlainJobOptions],
    ) -> bool: ...
    async def enqueue(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
        self, transaction: AsyncTransaction, function: Any, /, *args: Any, autocommit: bool = False, **options: Any
    ) -> bool:
        """Enqueue a plain job; as `Outbox.enqueue`."""
        (is_new,) = await self.enqueue_many(transaction, [plain_job(function, *args, **options)], autocommit=autocommit)
        return is_new

    async def enqueue_many(
        self, transaction: AsyncTransaction, jobs: Sequence[PlainJob], *, autocommit: bool = False
    ) -> list[bool]:
        """Enqueue plain jobs; as `Outbox.enqueue_many`."""
        statements, ids = await self._encoder.jobs(jobs)
        return new_jobs(ids, [await self._write(transaction, one, autocommit) for one in statements])

    @overload
    async def start_workflow(
        self,
        transaction: AsyncTransaction,
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
    async def start_workflow(
        self,
        transaction: AsyncTransaction,
        workflow: str,
        /,
        *args: Any,
        id: str,
        task_queue: str,
        key: str | None = None,
        autocommit: bool = False,
        **options: Unpack[StartOptions],
    ) -> bool: ...
    async def start_workflow(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
        self,
        transaction: AsyncTransaction,
        workflow: Any,
        /,
        *args: Any,
        id: str,
        task_queue: str,
        key: str | None = None,
        autocommit: bool = False,
        **options: Any,
    ) -> bool:
        """Start a workflow; as `Outbox.start_workflow`."""
        asked = start(workflow, args, id=id, task_queue=task_queue, key=key, **options)
        return await self._operation(transaction, asked, autocommit)

    @overload
    async def signal_workflow(
        self,
        transaction: AsyncTransaction,
        id: str,
        signal: Callable[[Any, *Ts], Any],
        /,
        *args: *Ts,
        run_id: str | None = None,
        key: str | None = None,
        autocommit: bool = False,
    ) -> bool: ...
    @overload
    async def signal_workflow(
        self,
        transaction: AsyncTransaction,
        id: str,
        signal: str,
        /,
        *args: Any,
        run_id: str | None = None,
        key: str | None = None,
        autocommit: bool = False,
    ) -> bool: ...
    async def signal_workflow(  # type: ignore[misc]  # mypy does not see that Any takes every *Ts
        self,
        transaction: AsyncTransaction,
        id: str,
        signal_: Any,
        /,
        *args: Any,
        run_id: str | None = None,
        key: str | None = None,
        autocommit: bool = False,
    ) -> bool:
        """Signal a workflow; as `Outbox.signal_workflow`."""
        return await self._operation(transaction, signal(id, signal_, args, run_id=run_id, key=key), autocommit)

    async def signal_with_start_workflow(
        self,
        transaction: AsyncTransaction,
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
        """Signal a workflow, and start it if needed; as `Outbox.signal_with_start_workflow`."""
        asked = signal_with_start(
            workflow, args, id=id, task_queue=task_queue, signal=signal, signal_args=signal_args, key=key, **options
        )
        return await self._operation(transaction, asked, autocommit)

    async def cancel_workflow(
        self,
        transaction: AsyncTransaction,
        id: str,
        /,
        *,
        reason: str | None = None,
        run_id: str | None = None,
        key: str | None = None,
        autocommit: bool = False,
    ) -> bool:
        """Ask a workflow to cancel; as `Outbox.cancel_workflow`."""
        return await self._operation(transaction, cancel(id, reason=reason, run_id=run_id, key=key), autocommit)

    async def _operation(self, transaction: AsyncTransaction, asked: Asked, autocommit: bool) -> bool:
        return bool(await self._write(transaction, await self._encoder.operation(asked), autocommit))

    async def _write(self, transaction: AsyncTransaction, statement: Statement, autocommit: bool) -> list[str]:
        return await run_async(transaction, statement.sql, statement.rows, autocommit=autocommit)
