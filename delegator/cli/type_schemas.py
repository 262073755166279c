"""`delegator types --json-schema`: the declared types, for workers in other languages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer
from delegator_schema.queues import DEFAULT_QUEUE

from delegator.cli.options import ActivitiesQueueOption
from delegator.config import Settings
from delegator.contracts import DelegatedType
from delegator.contracts.json_schema import TypeSchema, describe_types
from delegator.errors import ConfigurationError
from delegator.runtime.modules import load_types
from delegator.runtime.temporal_client import load_data_converter


def types_command(
    context: typer.Context,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schemas of the types that --import declares.")
    ] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Module with delegated types; may be repeated."),
    ] = None,
    activities: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE", help="Module whose existing @activity.defn functions are such types, too."),
    ] = None,
    activities_queue: ActivitiesQueueOption = DEFAULT_QUEUE,
) -> None:
    """Delegated activity types: list, pause, resume, drain; and their JSON Schemas.

    With --json-schema it prints, for each declared type, the schema of its list of arguments as the data converter of
    DELEGATOR_DATA_CONVERTER writes them, and that of its result as the converter reads it. No server is asked.
    """
    given = bool(imports or activities)
    if context.invoked_subcommand is not None:
        if json_schema or given:
            raise ConfigurationError("types: --json-schema, --import and --activities go without a command")
        return
    if not json_schema or not given:
        raise ConfigurationError(
            "types: give a command, or --json-schema with --import MODULE (see `delegator types --help`)"
        )
    declared = load_types(imports or (), activities or (), activities_queue)
    documents = [schema.document() for schema in schemas_of(declared, Settings.load())]
    typer.echo(json.dumps({"types": documents}, indent=2))


def schemas_of(declared: Mapping[str, DelegatedType], settings: Settings) -> tuple[TypeSchema, ...]:
    """Return the schemas of types.

    Args:
        declared: the types by name.
        settings: name the data converter.

    Raises:
        ConfigurationError: the data converter can't convert all of them, or what it writes is not known.
    """
    if not declared:
        return ()
    described = describe_types(declared, load_data_converter(settings.data_converter).payload_converter_class)
    if described.problems:
        raise ConfigurationError("\n".join(described.problems))
    return tuple(described.schemas.values())
