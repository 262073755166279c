"""The outbox writes with every supported connection: in the application's transaction, whatever the driver."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from temporalio.client import Client

from delegator import ConfigurationError
from delegator.outbox import Outbox
from tests.integration.outbox.conftest import TASK_QUEUE
from tests.integration.outbox.flows import Echo, Mailbox
from tests.integration.outbox.support import eventually, is_empty, result, status
from tests.support import Database

pytestmark = pytest.mark.usefixtures("serving", "worker")


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)


class Order(Base):
    __tablename__ = "customer_order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customer.id"))
    workflow: Mapped[str]


@pytest.fixture(scope="module", autouse=True)
def tables(module_database: Database) -> Iterator[None]:
    engine = sa.create_engine(url(module_database, "psycopg"))
    Base.metadata.create_all(engine)
    yield
    engine.dispose()


def url(database: Database, driver: str) -> str:
    return database.url.replace("postgresql://", f"postgresql+{driver}://")


def new_id() -> str:
    return f"driver-{uuid.uuid4()}"


async def check(client: Client, database: Database, started: list[str], never: list[str]) -> None:
    for name in started:
        assert await result(client, name) == [name, 1]
    await eventually(lambda: is_empty(database.url))
    for name in never:
        assert await status(client, name) is None


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
async def test_session(driver: str, outbox: Outbox, module_database: Database, temporal_client: Client) -> None:
    """A SQLAlchemy session: commit, rollback, savepoints, and rows of the application that depend on each other."""
    kept, inner, undone, lost, scoped = (new_id() for _ in range(5))
    engine = sa.create_engine(url(module_database, driver))

    def start(session: Session | scoped_session | sa.Connection, name: str) -> bool:
        return outbox.start_workflow(session, Echo.run, name, 1, id=name, task_queue=TASK_QUEUE)

    def work() -> None:
        with Session(engine) as session, session.begin():
            customer = Customer()
            session.add(customer)
            session.flush()
            session.add(Order(customer_id=customer.id, workflow=kept))
            assert start(session, kept)
            assert session.scalar(sa.select(sa.func.count()).where(Order.workflow == kept)) == 1
            with session.begin_nested():
                start(session, inner)
            with session.begin_nested() as savepoint:
                start(session, undone)
                savepoint.rollback()
        with Session(engine) as session:
            start(session, lost)
            session.rollback()
        with pytest.raises(sa.exc.IntegrityError), Session(engine) as session, session.begin():
            session.add(Order(customer_id=0, workflow=lost))
            start(session, lost)
        registry = scoped_session(sessionmaker(engine))
        start(registry, scoped)
        registry.commit()
        registry.remove()
        engine.dispose()

    await asyncio.to_thread(work)
    await check(temporal_client, module_database, [kept, inner, scoped], [undone, lost])


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
async def test_connection(driver: str, outbox: Outbox, module_database: Database, temporal_client: Client) -> None:
    """A SQLAlchemy connection; one in autocommit mode is refused unless the caller allows it."""
    kept, allowed, refused = new_id(), new_id(), new_id()
    engine = sa.create_engine(url(module_database, driver))

    def work() -> None:
        with engine.begin() as connection:
            outbox.start_workflow(connection, Echo.run, kept, 1, id=kept, task_queue=TASK_QUEUE)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            with pytest.raises(ConfigurationError, match="autocommit=True"):
                outbox.start_workflow(connection, Echo.run, refused, 1, id=refused, task_queue=TASK_QUEUE)
            outbox.start_workflow(connection, Echo.run, allowed, 1, id=allowed, task_queue=TASK_QUEUE, autocommit=True)
        engine.dispose()

    await asyncio.to_thread(work)
    await check(temporal_client, module_database, [kept, allowed], [refused])


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_async_session(driver: str, outbox: Outbox, module_database: Database, temporal_client: Client) -> None:
    """An asynchronous SQLAlchemy session or connection: commit, rollback, savepoints, autocommit."""
    kept, undone, lost, connected, scoped, refused = (new_id() for _ in range(6))
    engine = create_async_engine(url(module_database, driver))

    async def start(session: object, name: str) -> bool:
        return await outbox.aio.start_workflow(session, Echo.run, name, 1, id=name, task_queue=TASK_QUEUE)

    async with AsyncSession(engine) as session, session.begin():
        customer = Customer()
        session.add(customer)
        await session.flush()
        session.add(Order(customer_id=customer.id, workflow=kept))
        assert await start(session, kept)
        async with session.begin_nested() as savepoint:
            await start(session, undone)
            await savepoint.rollback()
    async with AsyncSession(engine) as session:
        await start(session, lost)
        await session.rollback()
    async with engine.begin() as connection:
        await start(connection, connected)
    registry = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
    await start(registry, scoped)
    await registry.commit()
    await registry.remove()
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(ConfigurationError, match="autocommit=True"):
            await start(connection, refused)
    await engine.dispose()
    await check(temporal_client, module_database, [kept, connected, scoped], [undone, lost, refused])


async def test_psycopg(outbox: Outbox, module_database: Database, temporal_client: Client) -> None:
    """A synchronous psycopg connection, also in pipeline mode and beside a running event loop."""
    kept, piped, lost = new_id(), new_id(), new_id()
    with psycopg.connect(module_database.url) as db:
        outbox.start_workflow(db, Echo.run, kept, 1, id=kept, task_queue=TASK_QUEUE)
        db.commit()
        with db.pipeline():
            outbox.start_workflow(db, Echo.run, piped, 1, id=piped, task_queue=TASK_QUEUE)
        db.commit()
        outbox.start_workflow(db, Echo.run, lost, 1, id=lost, task_queue=TASK_QUEUE)
        db.rollback()
        with pytest.raises(ConfigurationError, match="not with"):
            outbox.cancel_workflow(sa.create_engine("sqlite://"), "x")  # type: ignore[arg-type]
        with sa.create_engine("sqlite://").connect() as other, pytest.raises(ConfigurationError, match="sqlite"):
            outbox.cancel_workflow(other, "x")
    await check(temporal_client, module_database, [kept, piped], [lost])


async def test_locked_order(outbox: Outbox, module_database: Database, temporal_client: Client) -> None:
    """Sessions that change the same row signal in the order of their commits, though they call at the same time."""
    name = new_id()
    engine = sa.create_engine(url(module_database, "psycopg"))
    with Session(engine) as session, session.begin():
        customer = Customer()
        session.add(customer)
        session.flush()
        session.add(Order(id=1_000_000, customer_id=customer.id, workflow="0"))
        outbox.start_workflow(session, Mailbox.run, id=name, task_queue=TASK_QUEUE)

    def change() -> None:
        for _ in range(10):
            with Session(engine) as session, session.begin():
                order = session.get_one(Order, 1_000_000, with_for_update=True)
                number = int(order.workflow)
                order.workflow = str(number + 1)
                outbox.signal_workflow(session, name, Mailbox.put, number)

    await asyncio.gather(*(asyncio.to_thread(change) for _ in range(4)))
    with Session(engine) as session, session.begin():
        outbox.signal_workflow(session, name, Mailbox.close)
    engine.dispose()
    assert await result(temporal_client, name) == list(range(40))


async def test_prepared(module_database: Database, temporal_client: Client) -> None:
    """Two-phase commit: without notifications a transaction can be prepared, and its commit starts the workflow."""
    kept, lost = new_id(), new_id()
    quiet = Outbox(module_database.settings, notify=False)
    with psycopg.connect(module_database.url) as db:
        for name in (kept, lost):
            db.tpc_begin(db.xid(1, name, "outbox"))
            quiet.start_workflow(db, Echo.run, name, 1, id=name, task_queue=TASK_QUEUE)
            db.tpc_prepare()
            assert await status(temporal_client, name) is None
            if name == kept:
                db.tpc_commit()
            else:
                db.tpc_rollback()
    await check(temporal_client, module_database, [kept], [lost])
