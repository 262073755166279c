"""The jobs. Each may run any number of times: rows are known by import and line, decisions by their id."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import islice

import psycopg

from delegator import current_job, delegated, heartbeat
from examples.database import database, database_url
from examples.onboarding.contracts import Decision, Slice, Split
from examples.onboarding.csvfile import CsvFile, FileRefused, Row, open_chunks
from examples.onboarding.rules import born_on, problem_of
from examples.outgoing import mail_once

_SLICE = 1_000
# A thousand rows in one statement.
_INSERT_ROWS = """
INSERT INTO onboarding.import_rows (import_id, line, raw, name, born, city, problem)
SELECT %s, * FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING
"""
_INSERT_USERS = """
INSERT INTO onboarding.users (import_id, line, name, born, city)
SELECT %s, * FROM unnest(%s::int[], %s::text[], %s::date[], %s::text[]) ON CONFLICT DO NOTHING
"""
# A row is a duplicate if its user exists, and not by this row.
_MARK_DUPLICATES = """
UPDATE onboarding.import_rows r SET is_duplicate = true
WHERE r.import_id = %s AND r.line BETWEEN %s AND %s AND r.problem IS NULL
  AND NOT EXISTS (SELECT FROM onboarding.users u WHERE u.import_id = r.import_id AND u.line = r.line)
"""
_DECIDE = """
UPDATE onboarding.users SET status = %s, reason = %s, decided_by = %s, decided_at = now()
WHERE import_id = %s AND (id = ANY (%s) OR %s) AND status = 'imported' RETURNING id
"""


@delegated
def split_rows(import_id: str) -> Split:
    """Read the file once, and store its rows. A later attempt goes on after the last line that was reported."""
    stored = next(iter(current_job().heartbeat_details), 0)
    ranges: list[tuple[int, int]] = []
    count = 0
    with psycopg.connect(database_url(), autocommit=True) as connection:
        select = "SELECT encoding, delimiter FROM onboarding.imports WHERE id = %s"
        encoding, delimiter = connection.execute(select, (import_id,)).fetchone() or ("utf-8", None)
        file = CsvFile(open_chunks(lambda number: _chunk(connection, import_id, number), encoding), delimiter)
        try:
            for rows in _slices(file.rows()):
                count += len(rows)
                ranges.append((rows[0].line, rows[-1].line))
                if rows[-1].line > stored:
                    _store(connection, import_id, rows)
                heartbeat(rows[-1].line)
        except FileRefused as refused:
            connection.execute("DELETE FROM onboarding.import_rows WHERE import_id = %s", (import_id,))
            return Split(refused=str(refused))
        update = "UPDATE onboarding.imports SET delimiter = %s, unknown_columns = %s WHERE id = %s"
        connection.execute(update, (file.delimiter, file.unknown_columns, import_id))
    return Split(ranges, count)


@delegated
async def check_rows(rows: Slice) -> int:
    """Say for each row what is wrong with it, and return how many are bad."""
    today = date.today()
    key = (rows.import_id, rows.first, rows.last)
    where = "WHERE import_id = %s AND line BETWEEN %s AND %s"
    async with database.get().connection() as connection:
        found = await connection.execute(
            f"SELECT line, name, born, city, problem FROM onboarding.import_rows {where}".encode(), key
        )
        bad = [
            (problem, rows.import_id, line)
            for line, name, born, city, known in await found.fetchall()
            if (problem := known or problem_of(name, born, city, today)) is not None
        ]
        async with connection.cursor() as cursor:
            update = "UPDATE onboarding.import_rows SET problem = %s WHERE import_id = %s AND line = %s"
            await cursor.executemany(update, bad)
    return len(bad)


@delegated
async def load_users(rows: Slice) -> int:
    """Make users of the good rows, each once, and return how many rows were duplicates."""
    where = (rows.import_id, rows.first, rows.last)
    async with database.get().connection() as connection, connection.cursor() as cursor:
        await cursor.execute(
            "SELECT line, name, born, city FROM onboarding.import_rows "
            "WHERE import_id = %s AND line BETWEEN %s AND %s AND problem IS NULL",
            where,
        )
        # In one order: two slices that hold the same people must not wait for each other in a circle.
        users = sorted(await cursor.fetchall(), key=lambda user: user[1:])
        lines, names, births, cities = ([user[place] for user in users] for place in range(4))
        values = (rows.import_id, lines, names, [born_on(born) for born in births], cities)
        await cursor.execute(_INSERT_USERS, values)
        await cursor.execute(_MARK_DUPLICATES, where)
        return cursor.rowcount


@delegated
async def set_state(import_id: str, state: str, reason: str | None) -> None:
    """Show on the page where an import stands. A finished one needs its file no longer."""
    async with database.get().connection() as connection:
        update = "UPDATE onboarding.imports SET state = %s, reason = %s WHERE id = %s"
        await connection.execute(update, (state, reason, import_id))
        if state in ("done", "discarded", "refused"):
            await connection.execute("DELETE FROM onboarding.chunks WHERE import_id = %s", (import_id,))


@delegated
async def undecided(import_id: str) -> int:
    """Return how many users nobody has decided about."""
    async with database.get().connection() as connection:
        count = "SELECT count(*) FROM onboarding.users WHERE import_id = %s AND status = 'imported'"
        row = await (await connection.execute(count, (import_id,))).fetchone()
    return int(row[0]) if row else 0


@delegated
async def apply_decision(decision: Decision) -> None:
    """Decide in one transaction. The first decision about a user counts; a decision that comes again does nothing."""
    async with database.get().connection() as connection:
        # Two decisions about one import wait for each other, so what each of them reports is exact.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (decision.import_id,))
        select = "SELECT FROM onboarding.decisions WHERE id = %s"
        if (await connection.execute(select, (decision.id,))).rowcount:
            return
        target = (decision.import_id, decision.ids)
        by_maker = "SELECT FROM onboarding.imports WHERE id = %s AND maker = %s"
        is_maker = (await connection.execute(by_maker, (decision.import_id, decision.who))).rowcount > 0
        ids = "SELECT id FROM onboarding.users WHERE import_id = %s AND id = ANY (%s)"
        known = {row[0] for row in await (await connection.execute(ids, target)).fetchall()}
        applied: list[int] = []
        if not is_maker:  # the service refuses this, too; here it holds for whoever sends a signal
            values = (decision.verdict, decision.reason, decision.who, *target, decision.everyone)
            applied = [row[0] for row in await (await connection.execute(_DECIDE, values)).fetchall()]
        await connection.execute(
            "INSERT INTO onboarding.decisions (id, import_id, who, verdict, applied, decided_before, unknown) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (
                *(decision.id, decision.import_id, decision.who, decision.verdict),
                *(applied, sorted(known - set(applied)), sorted(set(decision.ids) - known)),
            ),
        )


@delegated
async def remind(import_id: str, number: int, waiting: int) -> None:
    """Mail all checkers, each once for each reminder."""
    async with database.get().connection() as connection:
        found = await connection.execute("SELECT mail FROM onboarding.people WHERE role = 'checker'")
        addresses = [row[0] for row in await found.fetchall()]
    for address in addresses:
        subject, text = (
            f"{waiting} users wait for approval",
            f"Import {import_id}: {waiting} users wait for a decision.",
        )
        await mail_once(f"{import_id}:{number}:{address}", address, subject, text)


def _slices(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while some := list(islice(rows, _SLICE)):
        yield some


def _chunk(connection: psycopg.Connection[tuple[bytes]], import_id: str, number: int) -> bytes | None:
    select = "SELECT data FROM onboarding.chunks WHERE import_id = %s AND number = %s"
    row = connection.execute(select, (import_id, number)).fetchone()
    return row[0] if row else None


def _store(connection: psycopg.Connection[tuple[bytes]], import_id: str, rows: list[Row]) -> None:
    names = ("line", "raw", "name", "born", "city", "problem")
    connection.execute(_INSERT_ROWS, (import_id, *([getattr(row, name) for row in rows] for name in names)))
