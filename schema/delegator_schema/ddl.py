"""Renders the declarations that Atlas does not know as SQL. All of it may run twice, also on existing objects.

Atlas replays migrations on a dev database. That database keeps roles and publications of earlier replays, because
Atlas removes only what it knows. `python -m delegator_schema.ddl [storage] [roles] [publication] [functions]` prints
the content of a new migration.
"""

import sys

from delegator_schema.columns import DEAD_LETTER_TABLE, LEASE_TABLE, OUTBOX_TABLE, PAUSE_TABLE, RATE_TABLE, UNIQUE_TABLE
from delegator_schema.functions import functions_sql
from delegator_schema.publications import PUBLICATION, REPLICA_IDENTITY
from delegator_schema.queues import BASE_TABLE, queue_table
from delegator_schema.roles import ROLES
from delegator_schema.storage import storage_of

STATE_TABLES = (DEAD_LETTER_TABLE, LEASE_TABLE, PAUSE_TABLE, RATE_TABLE, OUTBOX_TABLE, UNIQUE_TABLE)
"""The tables that are not queues."""


def quote(identifier: str) -> str:
    """Quote an SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def roles_sql() -> str:
    """Render the roles and their privileges on the schema. `grants_sql` renders those on tables."""
    return "".join(_role_sql(role.name) for role in ROLES)


def _role_sql(name: str) -> str:
    # The handler is needed because roles belong to the cluster, and two of its databases may be migrated at once.
    return f"""DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal(name)}) THEN
    CREATE ROLE {quote(name)} NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO {quote(name)}', current_schema());
END
$$;
"""


def grants_sql(table: str) -> str:
    """Render the privileges of the roles on `table`."""
    return "".join(
        f"GRANT {', '.join(role.privileges(table))} ON TABLE {quote(table)} TO {quote(role.name)};\n"
        for role in ROLES
        if role.privileges(table)
    )


def storage_sql(table: str) -> str:
    """Render the storage settings and the replica identity of `table`."""
    parameters = ", ".join(f"{name} = {value}" for name, value in storage_of(table).parameters)
    sql = f"ALTER TABLE {quote(table)} SET ({parameters});\n" if parameters else ""
    if table not in STATE_TABLES:
        sql += f"ALTER TABLE {quote(table)} REPLICA IDENTITY {REPLICA_IDENTITY};\n"
    return sql


def publication_sql(table: str, name: str = PUBLICATION.name) -> str:
    """Render the publication `name` with the declared columns of `table`. Its other tables stay.

    If the publication has the table with other columns, the table is dropped from it and added again in one
    transaction. So no row is left out that is inserted in the meantime.
    """
    operations = literal(", ".join(PUBLICATION.publish))
    columns = ", ".join(map(quote, PUBLICATION.columns))
    wanted = f"ARRAY[{', '.join(map(literal, sorted(PUBLICATION.columns)))}]"
    return f"""DO $$
DECLARE
  present text[];
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = {literal(name)}) THEN
    ALTER PUBLICATION {quote(name)} SET (publish = {operations});
  ELSE
    CREATE PUBLICATION {quote(name)} WITH (publish = {operations});
  END IF;
  SELECT ARRAY(
    SELECT attribute.attname::text FROM pg_catalog.pg_attribute AS attribute
    WHERE attribute.attrelid = published.prrelid AND attribute.attnum = ANY (published.prattrs)
    ORDER BY attribute.attname
  ) INTO present
  FROM pg_catalog.pg_publication_rel AS published
  JOIN pg_catalog.pg_publication AS publication ON publication.oid = published.prpubid
  WHERE publication.pubname = {literal(name)} AND published.prrelid = {literal(quote(table))}::regclass;
  IF present <> {wanted} THEN
    ALTER PUBLICATION {quote(name)} DROP TABLE {quote(table)};
  END IF;
  IF present IS DISTINCT FROM {wanted} THEN
    ALTER PUBLICATION {quote(name)} ADD TABLE {quote(table)} ({columns});
  END IF;
END
$$;
"""


def queue_sql(queue: str) -> str:
    """Render the table of an additional queue. It has the shape of the default queue's table, which must exist.

    `publication_sql` renders its publication, because the name is configured.

    Raises:
        ValueError: `queue` is not a queue name.
    """
    table = queue_table(queue)
    create = f"CREATE TABLE IF NOT EXISTS {quote(table)} (LIKE {quote(BASE_TABLE)} INCLUDING ALL);\n"
    return create + storage_sql(table) + grants_sql(table)


def sections() -> dict[str, str]:
    """Render everything, by the name of the migration."""
    tables = (BASE_TABLE, *STATE_TABLES)
    return {
        "storage": "".join(map(storage_sql, tables)),
        "roles": roles_sql() + "".join(map(grants_sql, tables)),
        "publication": publication_sql(BASE_TABLE),
        "functions": functions_sql(),
    }


if __name__ == "__main__":
    print("".join(sections()[name] for name in sys.argv[1:] or sections()), end="")
