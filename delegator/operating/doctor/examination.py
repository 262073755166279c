"""Runs the checks in the order of the path, and skips what can't work because of what has failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta

from delegator_schema.columns import LEASE_TABLE, PAUSE_TABLE
from delegator_schema.queues import queue_table
from delegator_schema.roles import ENQUEUER, MAINTENANCE
from temporalio.client import Client
from temporalio.converter import DataConverter

from delegator.config import Settings
from delegator.contracts import DelegatedType
from delegator.contracts.search_attributes import create_command
from delegator.errors import ConfigurationError, DelegatorError, SchemaError
from delegator.operating.doctor.canary import check_canary
from delegator.operating.doctor.check import Check, Status, failed, note, ok, skipped, split, withheld
from delegator.operating.doctor.database import check_declarations, check_server, check_slots, check_vacuum
from delegator.operating.doctor.engine import check_engine
from delegator.operating.doctor.stream import check_stream
from delegator.operating.overview import overview_on
from delegator.postgres.connections import Connection, DatabaseAddress, connect
from delegator.postgres.role_views import groups, unreadable
from delegator.postgres.schema_check import check as check_schema
from delegator.runtime.modules import add_current_directory
from delegator.runtime.search_attributes import check_search_attributes
from delegator.runtime.temporal_client import check_namespace, connect_temporal, load_data_converter


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What `delegator doctor` accepts."""

    canary: bool = True
    """Whether a job is sent through the whole path."""
    canary_limit: timedelta = timedelta(seconds=20)
    """How long it may take."""
    skew: timedelta = timedelta(seconds=2)
    """How far clocks may differ."""
    oldest_transaction: timedelta = timedelta(minutes=10)
    """How old an open transaction may be."""
    declared: tuple[DelegatedType, ...] = ()
    """Types that must have a live worker, even if they have no jobs."""


async def examine(load: Callable[[], Settings], options: DoctorOptions) -> AsyncIterator[Check]:
    """Check every link, and yield each result as it is known.

    Args:
        load: reads the settings.
        options: what is accepted.
    """
    try:
        settings = load()
    except ConfigurationError as error:
        yield failed("settings", *split(str(error), "correct the variable"))
        return
    yield ok("settings", f"queues: {', '.join(settings.queues)}")
    failures = False
    async for check in _database(settings, options):
        failures |= check.status is Status.FAILED
        yield check
    for check in await check_stream(settings):
        failures |= check.status is Status.FAILED
        yield check
    client: Client | None = None
    try:
        client = await connect_temporal(_converter(settings), lazy=False)
        yield ok("data converter", settings.data_converter or "Temporal's default")
        await check_namespace(client)
        yield ok("temporal", f"{client.service_client.config.target_host} has namespace {client.namespace}")
        if settings.search_attributes:
            yield await _search_attributes(client)
    except DelegatorError as error:
        failures = True
        link = next((link for name, link in _LINKS if name in str(error)), "temporal")
        yield failed(link, *split(str(error), "start Temporal, or correct TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE"))
    if not options.canary:
        return
    if failures or client is None:
        yield skipped("canary", "a check above")
        return
    if await _may_enqueue(settings):
        for check in await check_canary(client, settings, options.canary_limit):
            yield check
    else:
        yield withheld("canary", f"a member of {ENQUEUER.name}")


async def _may_enqueue(settings: Settings) -> bool:
    try:
        await check_schema(settings, process=ENQUEUER)
    except SchemaError:
        return False
    return True


async def _database(settings: Settings, options: DoctorOptions) -> AsyncIterator[Check]:
    try:
        connection = await connect(DatabaseAddress.of(settings), application_name="delegator doctor")
    except DelegatorError as error:
        yield failed("postgresql", str(error), "start PostgreSQL, or correct DELEGATOR_DATABASE_URL")
        for link in ("schema", "slots", "maintenance", "workers"):
            yield skipped(link, "postgresql")
        return
    async with connection:
        mine = await groups(connection)
        for check in await check_server(connection, settings, mine, options.skew):
            yield check
        usable = True
        for check in await check_declarations(settings, mine):
            usable &= check.status is not Status.FAILED or check.link not in _NEEDED
            yield check
        for check in await check_slots(connection, settings):
            yield check
        for check in await check_vacuum(connection, options.oldest_transaction):
            yield check
        for check in await _engine(connection, settings, options, usable=usable):
            yield check


_NEEDED = frozenset({"schema", "migrations", "table", "column", "privileges", "grant"})
"""Links without which the tables can't be read."""


async def _engine(connection: Connection, settings: Settings, options: DoctorOptions, *, usable: bool) -> list[Check]:
    if not usable:
        return [skipped(link, "the schema") for link in ("maintenance", "workers")]
    if await unreadable(connection, [*map(queue_table, settings.queues), LEASE_TABLE, PAUSE_TABLE]):
        return [withheld(link, f"a member of {MAINTENANCE.name}") for link in ("maintenance", "workers")]
    try:
        overview = await overview_on(connection, settings, dead=False)
        return check_engine(overview, options.declared, options.skew)
    except Exception as error:  # a table that is missing or that this role may not read
        return [
            failed("workers", f"the tables can't be read: {type(error).__name__}", "run `delegator migrate --check`")
        ]


_LINKS = (("DELEGATOR_DATA_CONVERTER", "data converter"), ("DELEGATOR_SEARCH_ATTRIBUTES", "search attributes"))
"""Links by the setting that an error of Temporal's names."""


async def _search_attributes(client: Client) -> Check:
    if await check_search_attributes(client):
        return ok("search attributes", f"namespace {client.namespace} has those of DELEGATOR_SEARCH_ATTRIBUTES")
    fix = f"if they are missing, `{create_command(client.namespace)}`"
    return note("search attributes", "not known: this client may not ask for those of the namespace", fix)


def _converter(settings: Settings) -> DataConverter:
    add_current_directory()
    return load_data_converter(settings.data_converter)
