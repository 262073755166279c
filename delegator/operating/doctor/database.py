"""Checks PostgreSQL: the server, the declarations, the slots, and what holds its vacuum back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from delegator_schema.queues import queue_slot
from delegator_schema.roles import APP, WORKER, Role

from delegator.config import Settings
from delegator.errors import ConfigurationError, DatabaseError, DelegatorError, SchemaError
from delegator.migrate import inspect
from delegator.operating.doctor.check import Check, Status, failed, note, ok, split, withheld
from delegator.postgres.connections import Connection, DatabaseAddress, connect
from delegator.postgres.role_views import blind_role
from delegator.postgres.schema_check import check
from delegator.postgres.server_views import (
    Slot,
    database_now,
    is_pooled,
    oldest_snapshot,
    other_slots,
    server_version,
    slots,
)

_MIGRATE: Final = "run `delegator migrate`"
_CONSUMER: Final = "start Sequin, or `delegator relay`"
_MUCH_LAG: Final = 64 * 2**20
_MUCH_WAL: Final = 2**30


async def check_server(
    connection: Connection, settings: Settings, groups: Sequence[Role], skew: timedelta
) -> list[Check]:
    """Check the version, whether a pooler stands before the server, and the clock.

    Args:
        connection: where to look.
        settings: the address without a pooler.
        groups: the engine's group roles whose privileges this role has; none for an owner of the tables.
        skew: how far this machine's clock may differ.
    """
    checks = [ok("postgresql", f"PostgreSQL {await server_version(connection)} answers")]
    if await is_pooled(connection):
        checks.append(note("pooler", "a connection pooler stands between", "nothing, if the next check is right"))
    checks.append(await _check_sessions(settings, groups))
    before = datetime.now(UTC)
    now = await database_now(connection)
    difference = now - (before + (datetime.now(UTC) - before) / 2)
    if abs(difference) > skew:
        checks.append(
            failed(
                "clock",
                f"this machine's clock differs from the database's by {abs(difference).total_seconds():.1f} s",
                "keep all clocks right by NTP (chrony, systemd-timesyncd)",
            )
        )
    else:
        checks.append(ok("clock", "this machine's clock agrees with the database's"))
    return checks


async def _check_sessions(settings: Settings, groups: Sequence[Role]) -> Check:
    """Check that a process gets a session of its own, as the leader's lock and notifications need one.

    Workers of jobs need none.
    """
    try:
        direct = await connect(
            DatabaseAddress.of(settings), application_name="delegator doctor", session_for="the leader's lock"
        )
    except DelegatorError as error:
        problem, fix = split(str(error), "correct DELEGATOR_DIRECT_DATABASE_URL")
        if isinstance(error, ConfigurationError) and [role.name for role in groups] == [WORKER.name]:
            return note("sessions", f"{problem}; the processes of {WORKER.name} need none", f"nothing, or {fix}")
        return failed("sessions", problem, fix)
    await direct.close()
    return ok("sessions", "a process gets a session of its own, for locks and notifications")


async def check_declarations(settings: Settings, groups: Sequence[Role]) -> list[Check]:
    """Check migrations, tables, columns, roles, publications, replica identity, server settings and privileges.

    Args:
        settings: where the database is, and what is declared.
        groups: the engine's group roles whose privileges this role has; none for an owner of the tables.
    """
    checks = []
    denied = await _denied(settings, groups)
    try:
        report = await inspect(settings, by_any_role=True)
    except (SchemaError, DatabaseError) as error:
        return [failed("schema", *split(str(error), _MIGRATE))]
    if not report.are_revisions_known:
        checks.append(withheld("migrations", "the owner of the tables"))
        if denied is not None:  # who may not use the schema sees no tables, so a comparison would miss all of them
            return [denied, *checks]
    fix = f"run `delegator migrate` with DELEGATOR_QUEUES={','.join(settings.queues)}"
    if report.applied:
        checks.append(failed("migrations", f"not applied yet: {', '.join(report.applied)}", fix))
    checks += [
        failed("queue " + queue, "its table is missing", fix) for queue in report.created_queues if not report.applied
    ]
    if not report.applied and not report.created_queues:
        checks += [
            failed(finding.subject, finding.problem, finding.fix)
            if finding.is_error
            else note(finding.subject, finding.problem, finding.fix)
            for finding in report.findings
            if finding.subject != "slot"
        ]
        if not report.errors:
            checks.append(ok("schema", f"the database is as declared (queues: {', '.join(settings.queues)})"))
    if denied is None:
        checks.append(ok("privileges", _may(groups)))
    elif not any(one.status is Status.FAILED for one in checks):
        checks.append(denied)
    return checks


async def _denied(settings: Settings, groups: Sequence[Role]) -> Check | None:
    """Return what this role lacks to be what its groups say; None: nothing."""
    try:
        for process in groups or (APP,):
            await check(settings, process=process)
    except DelegatorError as error:
        problem, fix = split(str(error), "run `delegator migrate --check`")
        if not groups:
            fix = (
                f"grant it the group of its process (page Database roles of the documentation); for all of them: {fix}"
            )
        return failed("privileges", problem, fix)
    return None


def _may(groups: Sequence[Role]) -> str:
    if not groups or APP in groups:
        return "this role may read and write the tables of all queues"
    return f"this role may do what the processes of {' and '.join(role.name for role in groups)} need"


async def check_slots(connection: Connection, settings: Settings) -> list[Check]:
    """Check that each queue's replication slot is read, and how far behind it is."""
    names = {queue: queue_slot(queue, settings.slot) for queue in settings.queues}
    found = {slot.name: slot for slot in await slots(connection, list(names.values()))}
    checks = [_check_slot(queue, name, found.get(name)) for queue, name in names.items()]
    left = await other_slots(connection, list(names.values()), f"{settings.slot}_")
    return checks + [
        note(
            f"slot {slot.name}",
            f"it is named like ours, and no declared queue has it; it keeps {_mib(slot.retained_bytes or 0)} of WAL",
            "name its queue in DELEGATOR_QUEUES; or, if the queue was taken away, delete its sink and its database "
            f"entry in Sequin's console, then: SELECT pg_drop_replication_slot('{slot.name}')",
        )
        for slot in left
    ]


async def check_vacuum(connection: Connection, oldest: timedelta) -> list[Check]:
    """Check that no old transaction keeps dead rows. A queue's table is slow when vacuum can't clean it.

    Args:
        connection: where to look.
        oldest: how old a transaction may be.
    """
    session = await oldest_snapshot(connection)
    if session is None or session.age < oldest:
        if role := await blind_role(connection):
            fix = f"to have it checked with this role, too: GRANT pg_read_all_stats TO {role}"
            return [note("vacuum", "not known: the server shows this role no other role's transactions", fix)]
        return [ok("vacuum", "no old transaction keeps dead rows")]
    return [
        failed(
            "vacuum",
            f"a transaction of {session.who} is open for {session.age.total_seconds():.0f} s, and keeps dead rows",
            f"end it: SELECT pg_terminate_backend({session.pid}); and set idle_in_transaction_session_timeout",
        )
    ]


def _check_slot(queue: str, name: str, slot: Slot | None) -> Check:
    link = f"slot of queue {queue}"
    if slot is None:
        return failed(
            link,
            f"replication slot {name} does not exist (DELEGATOR_SLOT)",
            f"{_CONSUMER}: `delegator relay` makes the slot; Sequin makes it only when it first hears of the database, "
            f"later run: SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')",
        )
    if slot.wal_status == "lost":
        return failed(
            link,
            f"replication slot {name} has lost its WAL",
            f"SELECT pg_drop_replication_slot('{name}') and restart its consumer; then raise max_slot_wal_keep_size",
        )
    retained = slot.retained_bytes or 0
    if not slot.active:
        return failed(link, f"nothing reads replication slot {name}; it keeps {_mib(retained)} of WAL", _CONSUMER)
    if (slot.lag_bytes or 0) > _MUCH_LAG or retained > _MUCH_WAL:
        return note(
            link,
            f"its consumer is {_mib(slot.lag_bytes or 0)} behind, and it keeps {_mib(retained)} of WAL",
            "see the stream's log: does it read, and do workers acknowledge? A large transaction passes by itself",
        )
    return ok(link, f"it is read, {_mib(slot.lag_bytes or 0)} behind, and keeps {_mib(retained)} of WAL")


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
