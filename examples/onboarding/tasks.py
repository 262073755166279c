"""The jobs. Each may run any number of times: rows are known by import and line, decisions by their id."""

from __future__ import annotations

import asyncio
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Final

import psycopg

from delegator import current_job, delegated, heartbeat
from examples.csvfile import CsvFile, FileRefused, Row, encoding_of, open_text
from examples.database import database, database_url
from examples.onboarding.contracts import ENDS, FOLDER, SLICE, Decision, Report
from examples.onboarding.rules import born_on, problem_of
from examples.outgoing import mail_once
from examples.service import setting

COLUMNS: Final = ("name", "born", "city")
_INSERT_ROW: Final = """
INSERT INTO onboarding.import_rows (import_id, line, raw, name, born, city, problem)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_DESCRIBE: Final = """
UPDATE onboarding.imports SET encoding = %s, encoding_guessed = %s, delimiter = %s, unknown_columns = %s WHERE id = %s
"""
# In one order: two slices that hold the same people must not wait for each other in a circle.
_INSERT_USERS: Final = """
INSERT INTO onboarding.users (import_id, line, name, born, city)
SELECT import_id, line, name, born, city FROM onboarding.import_rows
WHERE import_id = %s AND line BETWEEN %s AND %s AND problem IS NULL ORDER BY name, born, city ON CONFLICT DO NOTHING
"""
# A row is a duplicate if its user exists, and not by this row.
_MARK_DUPLICATES: Final = """
UPDATE onboarding.import_rows r SET is_duplicate = true
WHERE r.import_id = %s AND r.line BETWEEN %s AND %s AND r.problem IS NULL
  AND NOT EXISTS (SELECT FROM onboarding.users u WHERE u.import_id = r.import_id AND u.line = r.line)
"""
# Nobody decides about users that he imported. The service refuses it, too; here it holds for whoever sends a signal.
_DECIDE: Final = """
WITH applied AS (
    UPDATE onboarding.users SET status = %(verdict)s, reason = %(reason)s, decided_by = %(who)s, decided_at = now()
    WHERE import_id = %(import_id)s AND (id = ANY (%(ids)s) OR %(everyone)s) AND status = 'imported'
      AND NOT EXISTS (SELECT FROM onboarding.imports WHERE id = %(import_id)s AND maker = %(who)s)
    RETURNING id
), known AS (SELECT id FROM onboarding.users WHERE import_id = %(import_id)s AND id = ANY (%(ids)s))
INSERT INTO onboarding.decisions (id, import_id, who, verdict, applied, decided_before, unknown)
SELECT %(id)s, %(import_id)s, %(who)s, %(verdict)s, array(SELECT id FROM applied),
       array(SELECT id FROM known EXCEPT SELECT id FROM applied),
       array(SELECT unnest(%(ids)s::bigint[]) EXCEPT SELECT id FROM known)
ON CONFLICT DO NOTHING
"""


@delegated
def read_file(import_id: str) -> Report:
    """Read the file: store each row, and what is wrong with it.

    The rows before the line that an earlier attempt has reported are stored. They are only counted again.
    """
    stored, file = next(iter(current_job().heartbeat_details), 0), Path(setting(FOLDER), import_id)
    count, bad, line = 0, 0, 0
    with psycopg.connect(database_url(), autocommit=True) as connection:
        select = "SELECT charset, delimiter FROM onboarding.imports WHERE id = %s"
        charset, delimiter = connection.execute(select, (import_id,)).fetchone() or (None, None)
        encoding, is_guessed = encoding_of(file, charset)
        with open_text(file, encoding) as text:
            reading = CsvFile(text, COLUMNS, delimiter)
            found = reading.rows()
            try:
                while rows := list(islice(found, SLICE)):
                    values = [(import_id, *_checked(row)) for row in rows]
                    count, bad = count + len(rows), bad + sum(problem is not None for *_, problem in values)
                    line = rows[-1].line
                    if line > stored:
                        with connection.transaction(), connection.cursor() as cursor:
                            cursor.executemany(_INSERT_ROW, values)
                    heartbeat(line)
            except FileRefused as refused:
                connection.execute("DELETE FROM onboarding.import_rows WHERE import_id = %s", (import_id,))
                return Report(state="refused", reason=str(refused))
        described = (encoding, is_guessed, reading.delimiter, reading.unknown_columns, import_id)
        connection.execute(_DESCRIBE, described)
    return Report(count, bad, line)


@delegated
async def load_users(import_id: str, first: int, last: int) -> int:
    """Make users of the good rows between two lines, each once. Return how many rows were duplicates."""
    where = (import_id, first, last)
    async with database.get().connection() as connection:
        await connection.execute(_INSERT_USERS, where)
        return (await connection.execute(_MARK_DUPLICATES, where)).rowcount


@delegated
async def set_state(import_id: str, state: str, reason: str | None) -> None:
    """Show on the page where an import stands. One that has ended needs its file no longer."""
    async with database.get().connection() as connection:
        update = "UPDATE onboarding.imports SET state = %s, reason = %s WHERE id = %s"
        await connection.execute(update, (state, reason, import_id))
    if state in ENDS:
        await asyncio.to_thread(Path(setting(FOLDER), import_id).unlink, missing_ok=True)


@delegated
async def undecided(import_id: str) -> int:
    """Return how many users nobody has decided about."""
    async with database.get().connection() as connection:
        count = "SELECT count(*) FROM onboarding.users WHERE import_id = %s AND status = 'imported'"
        ((waiting,),) = await (await connection.execute(count, (import_id,))).fetchall()
    return int(waiting)


@delegated
async def apply_decision(decision: Decision) -> None:
    """Decide in one statement. The first decision about a user counts; a decision that comes again does nothing."""
    async with database.get().connection() as connection:
        await connection.execute(_DECIDE, vars(decision))


@delegated
async def remind(import_id: str, number: int, waiting: int) -> None:
    """Mail all checkers, each once for each reminder."""
    async with database.get().connection() as connection:
        found = await connection.execute("SELECT mail FROM logins.people WHERE role = 'checker'")
        addresses = [row[0] for row in await found.fetchall()]
    text = f"Import {import_id}: {waiting} users wait for a decision."
    for address in addresses:
        await mail_once(f"{import_id}:{number}:{address}", address, f"{waiting} users wait for approval", text)


def _checked(row: Row) -> tuple[int, str, str, date | None, str, str | None]:
    """Return the values of `_INSERT_ROW` but the first. The last one is what is wrong with the row."""
    name, born, city = (row.fields.get(column, "") for column in COLUMNS)
    problem = row.problem or problem_of(name, born, city, date.today())
    return row.line, row.raw, name, born_on(born), city, problem
