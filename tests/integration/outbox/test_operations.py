"""Operations that were committed reach Temporal, each once and in order; those that were rolled back never do."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import Priority, RetryPolicy, WorkflowIDReusePolicy
from temporalio.converter import DataConverter

from delegator import ConfigurationError
from delegator.outbox import Outbox
from tests.integration.outbox.conftest import TASK_QUEUE
from tests.integration.outbox.flows import Echo, Mailbox
from tests.integration.outbox.support import dead_letters, eventually, is_empty, result, status
from tests.support import Database

pytestmark = pytest.mark.usefixtures("serving", "worker")


def new_id() -> str:
    return f"out-{uuid.uuid4()}"


async def settled(database: Database) -> None:
    await eventually(lambda: is_empty(database.url))


async def test_commit_and_rollback(
    outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client, module_database: Database
) -> None:
    """Transactions and savepoints decide: what was rolled back is never started."""
    kept, inner, undone, lost = new_id(), new_id(), new_id(), new_id()
    async with db.transaction():
        assert await outbox.aio.start_workflow(db, Echo.run, "a", 3, id=kept, task_queue=TASK_QUEUE)
        async with db.transaction():
            await outbox.aio.start_workflow(db, Echo.run, "b", 0, id=inner, task_queue=TASK_QUEUE)
        async with db.transaction() as savepoint:
            await outbox.aio.start_workflow(db, Echo.run, "c", 0, id=undone, task_queue=TASK_QUEUE)
            raise psycopg.Rollback(savepoint)
    await outbox.aio.start_workflow(db, Echo.run, "d", 0, id=lost, task_queue=TASK_QUEUE)
    await db.rollback()
    assert await result(temporal_client, kept) == ["a", 3]
    assert await result(temporal_client, inner) == ["b", 0]
    await settled(module_database)
    assert await status(temporal_client, undone) is None
    assert await status(temporal_client, lost) is None


async def test_order(
    outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client, module_database: Database
) -> None:
    """A start, a hundred signals of several transactions and a cancellation arrive in the order of the calls."""
    name = new_id()
    await outbox.aio.start_workflow(db, Mailbox.run, id=name, task_queue=TASK_QUEUE)
    for number in range(100):
        await outbox.aio.signal_workflow(db, name, Mailbox.put, number)
        if number % 10 == 9:
            await db.commit()
    await outbox.aio.cancel_workflow(db, name, reason="enough")
    await db.commit()
    assert await result(temporal_client, name) == [*range(100), -1]
    await settled(module_database)


async def test_signal_with_start(
    outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client, module_database: Database
) -> None:
    """It starts the workflow, or signals the run that is open, or starts the next run after one has closed."""
    name = new_id()

    async def put(number: int) -> None:
        await outbox.aio.signal_with_start_workflow(
            db, Mailbox.run, id=name, task_queue=TASK_QUEUE, signal=Mailbox.put, signal_args=[number]
        )

    await put(1)
    await put(2)
    await outbox.aio.signal_workflow(db, name, Mailbox.close)
    await db.commit()
    assert await result(temporal_client, name) == [1, 2]
    await put(3)
    await outbox.aio.signal_workflow(db, name, Mailbox.close)
    await db.commit()
    await settled(module_database)
    assert await result(temporal_client, name) == [3]


async def test_key(
    outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client, module_database: Database
) -> None:
    """A key is written once, and Temporal takes a later operation with the same key for the first one."""
    name = new_id()

    async def start() -> bool:
        return await outbox.aio.start_workflow(db, Mailbox.run, id=name, task_queue=TASK_QUEUE, key=f"start {name}")

    async def put() -> bool:
        return await outbox.aio.signal_workflow(db, name, Mailbox.put, 1, key=f"put {name}")

    assert [await start(), await start(), await put(), await put()] == [True, False, True, False]
    await db.commit()
    await settled(module_database)
    run_id = (await temporal_client.get_workflow_handle(name).describe()).run_id
    assert await start()
    assert await put()
    await outbox.aio.signal_workflow(db, name, Mailbox.close)
    await db.commit()
    assert await result(temporal_client, name) == [1]
    assert await start()
    await db.commit()
    await settled(module_database)
    assert (await temporal_client.get_workflow_handle(name).describe()).run_id == run_id


async def test_options(outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client) -> None:
    """The options of a start reach Temporal."""
    name = new_id()
    await outbox.aio.start_workflow(
        db,
        Mailbox.run,
        id=name,
        task_queue=TASK_QUEUE,
        execution_timeout=timedelta(minutes=7),
        run_timeout=timedelta(minutes=6),
        task_timeout=timedelta(seconds=5),
        retry_policy=RetryPolicy(maximum_attempts=4),
        memo={"why": {"because": [1]}},
        static_summary="summed up",
        priority=Priority(priority_key=2),
    )
    await db.commit()
    await eventually(lambda: status(temporal_client, name))
    description = await temporal_client.get_workflow_handle(name).describe()
    assert await description.memo() == {"why": {"because": [1]}}
    assert await description.static_summary() == "summed up"
    config = description.raw_description.execution_config
    assert config.workflow_execution_timeout.seconds == 7 * 60
    assert config.workflow_run_timeout.seconds == 6 * 60
    assert config.default_workflow_task_timeout.seconds == 5
    assert description.raw_description.workflow_execution_info.priority.priority_key == 2


@pytest.mark.parametrize(
    ("write", "reason", "error"),
    [
        (lambda out, db, name: out.start_workflow(
            db, Echo.run, "x", 0, id=name, task_queue=TASK_QUEUE, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE
        ), "already_exists", "ALREADY_EXISTS"),
        (lambda out, db, name: out.start_workflow(
            db, Echo.run, "x", 0, id=name, task_queue=TASK_QUEUE, run_timeout=timedelta(seconds=-5)
        ), "refused", "INVALID_ARGUMENT"),
    ],
    ids=["exists", "refused"],
)  # fmt: skip
async def test_dead_letter(
    write: Callable, reason: str, error: str, outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client,
    module_database: Database,
) -> None:  # fmt: skip
    """What Temporal refuses becomes a dead letter, and the next operation on that workflow goes on."""
    name = new_id()
    await outbox.aio.start_workflow(db, Echo.run, "a", 0, id=name, task_queue=TASK_QUEUE)
    await db.commit()
    assert await result(temporal_client, name) == ["a", 0]
    await write(outbox.aio, db, name)
    await outbox.aio.start_workflow(db, Echo.run, "b", 0, id=name, task_queue=TASK_QUEUE)
    await db.commit()
    await settled(module_database)
    assert await dead_letters(module_database.url, name) == [("start", reason, error)]
    assert await result(temporal_client, name) == ["b", 0]


async def test_not_found_yet(outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client) -> None:
    """A signal waits for a workflow that somebody else starts a little later. Others overtake it."""
    name, other = new_id(), new_id()
    await outbox.aio.signal_workflow(db, name, Mailbox.close)
    await outbox.aio.start_workflow(db, Echo.run, "a", 0, id=other, task_queue=TASK_QUEUE)
    await db.commit()
    assert await result(temporal_client, other) == ["a", 0]
    handle = await temporal_client.start_workflow(Mailbox.run, id=name, task_queue=TASK_QUEUE)
    assert await handle.result() == []


async def test_cancel_of_closed(
    outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client, module_database: Database
) -> None:
    """The cancellation of a run that has closed needs nothing more."""
    name = new_id()
    await outbox.aio.start_workflow(db, Echo.run, "a", 0, id=name, task_queue=TASK_QUEUE)
    await db.commit()
    await result(temporal_client, name)
    await outbox.aio.cancel_workflow(db, name)
    await db.commit()
    await settled(module_database)
    assert await dead_letters(module_database.url, name) == []
    assert await status(temporal_client, name) is WorkflowExecutionStatus.COMPLETED


async def test_bad_input(outbox: Outbox, db: psycopg.AsyncConnection) -> None:
    """What can't be written is refused before anything is, and the transaction goes on."""
    with pytest.raises(ValueError, match="more than Temporal's limit"):
        await outbox.aio.start_workflow(db, Echo.run, "x" * 2_200_000, 0, id="large", task_queue=TASK_QUEUE)
    with pytest.raises(ValueError, match="workflow id"):
        await outbox.aio.start_workflow(db, Echo.run, "x", 0, id="", task_queue=TASK_QUEUE)
    with pytest.raises(ConfigurationError, match=r"@workflow\.run"):
        await outbox.aio.start_workflow(db, new_id, id="x", task_queue=TASK_QUEUE)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"@workflow\.signal"):
        await outbox.aio.signal_workflow(db, "x", new_id)
    with pytest.raises(ConfigurationError, match=r"AsyncConnection.*not with builtins\.int"):
        await outbox.aio.cancel_workflow(5, "x")  # type: ignore[arg-type]
    assert (await (await db.execute("SELECT count(*) FROM custom_task_outbox")).fetchone()) == (0,)


async def test_autocommit(outbox: Outbox, module_database: Database, temporal_client: Client) -> None:
    """A connection that commits each statement is refused, unless a transaction is open or the caller allows it."""
    name, allowed = new_id(), new_id()
    async with await psycopg.AsyncConnection.connect(module_database.url, autocommit=True) as db:
        with pytest.raises(ConfigurationError, match="autocommit=True"):
            await outbox.aio.start_workflow(db, Echo.run, "a", 0, id=name, task_queue=TASK_QUEUE)
        async with db.transaction():
            await outbox.aio.start_workflow(db, Echo.run, "a", 0, id=name, task_queue=TASK_QUEUE)
        await outbox.aio.start_workflow(db, Echo.run, "b", 0, id=allowed, task_queue=TASK_QUEUE, autocommit=True)
    assert await result(temporal_client, name) == ["a", 0]
    assert await result(temporal_client, allowed) == ["b", 0]


async def test_search_path(outbox: Outbox, db: psycopg.AsyncConnection, temporal_client: Client) -> None:
    """The application's search_path and row factory do not matter."""
    name = new_id()
    db.row_factory = psycopg.rows.dict_row
    await db.execute("SET LOCAL search_path = pg_temp")
    assert await outbox.aio.start_workflow(db, Echo.run, "a", 0, id=name, task_queue=TASK_QUEUE)
    await db.commit()
    assert await result(temporal_client, name) == ["a", 0]


async def test_concurrent_key(outbox: Outbox, module_database: Database) -> None:
    """In REPEATABLE READ a key that another transaction has just written is a serialization failure."""
    first = await psycopg.AsyncConnection.connect(module_database.url)
    second = await psycopg.AsyncConnection.connect(module_database.url)
    async with first, second:
        await second.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await second.execute("SELECT count(*) FROM custom_task_outbox")
        await outbox.aio.cancel_workflow(first, "nobody", key="twice")
        await first.commit()
        with pytest.raises(psycopg.errors.SerializationFailure):
            await outbox.aio.cancel_workflow(second, "nobody", key="twice")
        await second.rollback()
        await first.execute("DELETE FROM custom_task_outbox WHERE key = 'twice'")


async def test_encrypted(module_database: Database, db: psycopg.AsyncConnection, temporal_client: Client) -> None:
    """With a codec nothing readable is in the row: neither arguments nor memo nor summary."""
    from tests.integration.delegator.encryption import converter as encrypting

    converter: DataConverter = encrypting
    name = new_id()
    secret = Outbox(module_database.settings, converter)
    with psycopg.Connection.connect(module_database.url) as plain:
        # Synchronous, beside a running event loop: the codec runs in a thread of its own.
        secret.start_workflow(
            plain, Echo.run, "canary-1", 0, id=name, task_queue=TASK_QUEUE, memo={"m": "canary-2"},
            static_summary="canary-3",
        )  # fmt: skip
        (row,) = plain.execute("SELECT o::text, encode(input, 'escape') FROM custom_task_outbox AS o").fetchall()
        assert "canary" not in "".join(row)
    await eventually(lambda: status(temporal_client, name))
    config = temporal_client.config()
    config["data_converter"] = converter
    described = await Client(**config).get_workflow_handle(name).describe()
    assert await described.memo() == {"m": "canary-2"}
    assert await described.static_summary() == "canary-3"
    await temporal_client.get_workflow_handle(name).terminate()
