"""The jobs: find the next pages of users, and add the bonuses of a page."""

from __future__ import annotations

from dataclasses import dataclass, replace

from temporalio.exceptions import ApplicationError

from delegator import delegated
from examples.bonuses.rule import bonus
from examples.database import Connection, database

# By the last id, never by OFFSET, which would read all pages before it again and lose users when others are removed.
_PAGES = """
SELECT min(id), max(id)
FROM (
    SELECT id, (row_number() OVER (ORDER BY id) - 1) / %s AS page
    FROM (SELECT id FROM bonuses.users WHERE shop = %s AND id > %s ORDER BY id LIMIT %s) AS next
) AS numbered
GROUP BY page ORDER BY page
"""
_USERS = "SELECT id, spent FROM bonuses.users WHERE shop = %s AND id BETWEEN %s AND %s ORDER BY id LIMIT %s"
CHUNK = 500
"""Users of one transaction."""
# One statement, one transaction: an entry and its money, or neither. Users are locked in the order of their ids, so two
# runs don't wait for each other in a circle; a user who is gone meanwhile is left out. The count is that of all users
# who have an entry then, so a job that is repeated has the same result.
_ADD = """
WITH decided AS (
    SELECT users.id, decided.amount
    FROM unnest(%(ids)s::bigint[], %(amounts)s::bigint[]) AS decided (id, amount) JOIN bonuses.users USING (id)
    WHERE id BETWEEN %(first)s AND %(last)s  -- so that a job costs the same however many users there are
    ORDER BY users.id FOR NO KEY UPDATE OF users
), added AS (
    INSERT INTO bonuses.entries (user_id, period, amount) SELECT id, %(period)s, amount FROM decided
    ON CONFLICT DO NOTHING RETURNING user_id, amount
), paid AS (
    UPDATE bonuses.users SET balance = balance + amount FROM added
    WHERE id = user_id AND id BETWEEN %(first)s AND %(last)s
)
SELECT count(*) FROM decided
"""


@dataclass(frozen=True)
class Search:
    """Which pages are wanted."""

    shop: str
    after: int
    """The last user of the pages before."""
    users_per_page: int
    pages: int


@dataclass(frozen=True)
class Page:
    """Users of a shop, by their first and last id."""

    shop: str
    period: str
    first: int
    last: int


@delegated
async def next_pages(search: Search) -> list[tuple[int, int]]:
    """Return the first and the last id of each page. The ids between them stay in the database."""
    values = (search.users_per_page, search.shop, search.after, search.users_per_page * search.pages)
    async with database.get().connection() as connection:
        return [(first, last) for first, last in await (await connection.execute(_PAGES, values)).fetchall()]


@delegated
async def add_bonuses(page: Page) -> int:
    """Decide about the users of a page, add what they get, and return how many have a bonus."""
    count, first = 0, page.first
    async with database.get().connection() as connection:
        while users := await _chunk(connection, replace(page, first=first)):
            try:
                amounts = [bonus(spent) for _, spent in users]
            except ValueError as error:
                raise ApplicationError(str(error), type="BadUser", non_retryable=True) from None
            first, ids = users[-1][0] + 1, [user for user, _ in users]
            values = {"ids": ids, "amounts": amounts, "first": ids[0], "last": ids[-1], "period": page.period}
            row = await (await connection.execute(_ADD, values)).fetchone()
            await connection.commit()
            count += row[0] if row else 0
    return count


async def _chunk(connection: Connection, page: Page) -> list[tuple[int, int]]:
    users = await connection.execute(_USERS, (page.shop, page.first, page.last, CHUNK))
    return [(user, spent) for user, spent in await users.fetchall()]
