"""Compares tables, columns, indexes and constraints with the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from delegator_schema.ddl import quote
from delegator_schema.models import metadata, queued_job
from psycopg import AsyncConnection
from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.dialects import postgresql

from delegator.migrate.drift.finding import Finding

_TABLES = """
    SELECT relname FROM pg_catalog.pg_class
    WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind IN ('r', 'p') AND relname = ANY(%s)"""
_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity = 'a', pg_get_expr(adbin, adrelid)
    FROM pg_catalog.pg_attribute LEFT JOIN pg_catalog.pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_INDEXES = """
    SELECT indexrelid::regclass::text, indisunique, indisvalid, pg_get_expr(indpred, indrelid),
        ARRAY(SELECT pg_get_indexdef(indexrelid, key, false) FROM generate_series(1, indnkeyatts) AS key)
    FROM pg_catalog.pg_index WHERE indrelid = %s::regclass ORDER BY 1"""
_CHECKS = "SELECT conname FROM pg_catalog.pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'"


@dataclass(frozen=True)
class _ColumnShape:
    type: str
    not_null: bool
    identity: bool
    default: str | None

    def __str__(self) -> str:
        parts = [self.type]
        if self.not_null:
            parts.append("NOT NULL")
        if self.identity:
            parts.append("GENERATED ALWAYS AS IDENTITY")
        if self.default is not None:
            parts.append(f"DEFAULT {self.default}")
        return " ".join(parts)


@dataclass(frozen=True)
class _IndexShape:
    unique: bool
    columns: tuple[str, ...]
    predicate: str | None


async def check_shape(
    connection: AsyncConnection, tables: Sequence[str], queues: Sequence[str]
) -> tuple[list[Finding], tuple[str, ...]]:
    """Compare `tables` with the models.

    Returns:
        The differences, and the tables that exist.
    """
    found = {name for (name,) in await (await connection.execute(_TABLES, [list(tables)])).fetchall()}
    findings = []
    for table in tables:
        if table not in found:
            fix = (
                "restore it from a backup; its migration counts as applied"
                if table in metadata.tables
                else f"run `delegator migrate` with DELEGATOR_QUEUES={','.join(queues)}"
            )
            findings.append(Finding("table", f"table {table} is missing", fix))
            continue
        model = _model(table)
        findings += await _check_columns(connection, table, model)
        findings += await _check_indexes(connection, table, model)
        findings += await _check_constraints(connection, table, model)
    return findings, tuple(table for table in tables if table in found)


def _model(table: str) -> Table:
    tables = metadata.tables
    return tables[table] if table in tables else tables[queued_job.name]


async def _check_columns(connection: AsyncConnection, table: str, model: Table) -> list[Finding]:
    rows = await (await connection.execute(_COLUMNS, [quote(table)])).fetchall()
    present = {name: _ColumnShape(*shape) for name, *shape in rows}
    declared = {column.name: _declared_column(column) for column in model.columns}
    findings = []
    alter = f"ALTER TABLE {quote(table)}"
    for name, shape in declared.items():
        if name not in present:
            fix = f"{alter} ADD COLUMN {quote(name)} {shape}"
            findings.append(Finding("column", f"table {table} lacks column {name}", fix))
        elif present[name] != shape:
            fix = f"{alter} {', '.join(_alterations(name, present[name], shape))}"
            problem = f"column {table}.{name} is {present[name]} instead of {shape}"
            findings.append(Finding("column", problem, fix))
    for name in present.keys() - declared.keys():
        fix = f"{alter} DROP COLUMN {quote(name)}, or declare it in schema/delegator_schema/models.py"
        findings.append(Finding("column", f"column {table}.{name} is not declared", fix))
    return findings


def _declared_column(column: Column[object]) -> _ColumnShape:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    preset = getattr(column.server_default, "arg", None)
    return _ColumnShape(
        type=column.type.compile(dialect).lower(),
        not_null=not column.nullable,
        identity=column.identity is not None,
        default=None if preset is None or column.identity else str(preset.compile(dialect=dialect)),
    )


def _alterations(name: str, present: _ColumnShape, declared: _ColumnShape) -> list[str]:
    column = f"ALTER COLUMN {quote(name)}"
    steps = []
    if present.type != declared.type:
        steps.append(f"{column} TYPE {declared.type} USING {quote(name)}::{declared.type}")
    if present.default != declared.default:
        steps.append(f"{column} " + (f"SET DEFAULT {declared.default}" if declared.default else "DROP DEFAULT"))
    if present.not_null != declared.not_null:
        steps.append(f"{column} {'SET' if declared.not_null else 'DROP'} NOT NULL")
    if present.identity != declared.identity:
        steps.append(f"{column} {'ADD GENERATED ALWAYS AS' if declared.identity else 'DROP'} IDENTITY")
    return steps


async def _check_indexes(connection: AsyncConnection, table: str, model: Table) -> list[Finding]:
    rows = await (await connection.execute(_INDEXES, [quote(table)])).fetchall()
    present = {
        _IndexShape(unique, tuple(columns), predicate and _bare(predicate)): (name, valid)
        for name, unique, valid, predicate, columns in rows
    }
    declared = {_IndexShape(True, tuple(column.name for column in model.primary_key), None)}
    for index in model.indexes:
        predicate = index.dialect_options["postgresql"]["where"]
        columns = tuple(column.name for column in index.columns)
        declared.add(_IndexShape(index.unique, columns, None if predicate is None else _bare(str(predicate))))
    findings = []
    for shape in sorted(declared - present.keys(), key=str):
        keys = ", ".join(map(quote, shape.columns))
        fix = f"CREATE {'UNIQUE ' if shape.unique else ''}INDEX CONCURRENTLY ON {quote(table)} ({keys})"
        fix += f" WHERE {shape.predicate}" if shape.predicate else ""
        findings.append(Finding("index", f"table {table} lacks its index on {', '.join(shape.columns)}", fix))
    for shape, (name, valid) in present.items():
        if not valid:
            findings.append(Finding("index", f"index {name} is not valid", f"REINDEX INDEX CONCURRENTLY {name}"))
        if shape not in declared:
            problem = f"index {name} is not declared; an index on a column that claims change costs heap-only updates"
            findings.append(Finding("index", problem, f"DROP INDEX CONCURRENTLY {name}", is_error=False))
    return findings


def _bare(predicate: str) -> str:
    return predicate.removeprefix("(").removesuffix(")")


async def _check_constraints(connection: AsyncConnection, table: str, model: Table) -> list[Finding]:
    present = {name for (name,) in await (await connection.execute(_CHECKS, [quote(table)])).fetchall()}
    return [
        Finding(
            "constraint",
            f"table {table} lacks the constraint {constraint.name}",
            f"ALTER TABLE {quote(table)} ADD CONSTRAINT {quote(str(constraint.name))} CHECK ({constraint.sqltext})",
        )
        for constraint in model.constraints
        if isinstance(constraint, CheckConstraint) and str(constraint.name) not in present
    ]
