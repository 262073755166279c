"""Compares the SQL functions of the outbox."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from delegator_schema.ddl import quote
from delegator_schema.functions import FUNCTIONS, PREFIX, Function
from psycopg import AsyncConnection

from delegator.config import Settings
from delegator.migrate.drift.finding import Finding

_FUNCTIONS: Final = """
    SELECT format('%%s(%%s)', proname, oidvectortypes(proargtypes)), proname, pg_get_function_arguments(proc.oid),
        pg_get_function_result(proc.oid), lanname, prosrc, provolatile::text, proisstrict, proparallel::text, prosecdef,
        coalesce(proconfig, '{}')
    FROM pg_catalog.pg_proc AS proc JOIN pg_catalog.pg_language AS language ON language.oid = proc.prolang
    WHERE pronamespace = quote_ident(current_schema())::regnamespace AND prokind = 'f' AND starts_with(proname, %s)
    ORDER BY 1"""
_SCHEMA: Final = "SELECT quote_ident(current_schema())"


@dataclass(frozen=True)
class _FunctionShape:
    arguments: str
    result: str
    language: str
    body: str
    volatility: str
    strictness: bool
    parallel_safety: str
    security: bool
    settings: list[str]

    def differences(self, other: _FunctionShape) -> list[str]:
        """Return the names of what is different."""
        ours, theirs = asdict(self), asdict(other)
        return [name.replace("_", " ") for name in ours if ours[name] != theirs[name]]


async def check_functions(connection: AsyncConnection, settings: Settings) -> list[Finding]:
    """Compare the functions whose names begin as ours.

    Args:
        connection: where to look.
        settings: the database and the schema, for the command that installs them.
    """
    rows = await (await connection.execute(_FUNCTIONS, [PREFIX])).fetchall()
    present = {signature: (name, _FunctionShape(*shape)) for signature, name, *shape in rows}
    row = await (await connection.execute(_SCHEMA)).fetchone()
    declared = {function.signature: _declared(function, row[0] if row else "") for function in FUNCTIONS}
    install = _install(settings)
    findings = []
    for signature, shape in declared.items():
        if signature not in present:
            findings.append(Finding("function", f"function {signature} is missing", install))
        elif different := shape.differences(present[signature][1]):
            problem = f"function {signature} is not as declared: other {', '.join(different)}"
            # CREATE OR REPLACE changes neither names and defaults of arguments nor the result.
            drop = not {"arguments", "result"}.isdisjoint(different)
            fix = f"DROP FUNCTION {signature}; then {install}" if drop else install
            findings.append(Finding("function", problem, fix))
    names = {function.name for function in FUNCTIONS}
    for signature in present.keys() - declared.keys():
        name = present[signature][0]
        problem = f"function {signature} is not declared"
        if name in names:  # PostgreSQL would have to choose between the two
            problem += f", and {name} is a function of ours"
        fix = f"DROP FUNCTION {signature.replace(name, quote(name), 1)}"
        findings.append(Finding("function", problem, fix, is_error=name in names))
    return findings


def _install(settings: Settings) -> str:
    """Return the command that installs the declared functions."""
    url = "DELEGATOR_DATABASE_URL" if settings.direct_database_url is None else "DELEGATOR_DIRECT_DATABASE_URL"
    schema = "" if settings.schema_name is None else f"PGOPTIONS='-c search_path={settings.schema_name}' "
    return f'python -m delegator_schema.ddl functions | {schema}psql -v ON_ERROR_STOP=1 "${url}"'


def _declared(function: Function, schema: str) -> _FunctionShape:
    properties = function.properties
    return _FunctionShape(
        arguments=function.catalog_arguments,
        result=function.returns,
        language=function.language,
        body=function.body,
        volatility="i" if "IMMUTABLE" in properties else "s" if "STABLE" in properties else "v",
        strictness="STRICT" in properties,
        parallel_safety="s" if "PARALLEL SAFE" in properties else "u",
        security=False,
        settings=[f"search_path={schema}, pg_temp"],
    )
