"""Describes delegated activity types: the list of arguments that a worker gets, and the result that it returns."""

from __future__ import annotations

import inspect
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DefaultPayloadConverter, PayloadConverter

from delegator.contracts.json_schema.default_converter import describe_by_default
from delegator.contracts.json_schema.pydantic_converter import describe_by_pydantic
from delegator.contracts.json_schema.schema import Describe, Direction, Json, Wanted
from delegator.contracts.types import DYNAMIC_TYPE, DelegatedType
from delegator.errors import ConfigurationError

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TRANSFER_ATTRIBUTE: Final = "__temporal_transfer_type_converter"


@dataclass(frozen=True, slots=True)
class TypeSchema:
    """The schemas of a delegated activity type."""

    name: str
    """The activity type's name."""
    queue: str
    """The queue of its jobs."""
    arguments: Json
    """The JSON Schema of the list of its arguments, as the data converter writes them."""
    result: Json
    """The JSON Schema of its result, as the data converter reads it."""

    def document(self) -> Json:
        """Return it as a JSON object."""
        return {"type": self.name, "queue": self.queue, "arguments": self.arguments, "result": self.result}


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of some types."""

    schemas: Mapping[str, TypeSchema]
    """By activity type, in the order of their names."""
    problems: tuple[str, ...]
    """Why the other types have no schema: for each what the data converter can't convert, and what would help."""


def describe_types(declared: Mapping[str, DelegatedType], converter: type[PayloadConverter]) -> Described:
    """Return the schemas of delegated activity types. A dynamic type has none: it stands for every name.

    Args:
        declared: the types by name.
        converter: the payload converter's class. A payload codec makes no difference.

    Raises:
        ConfigurationError: the converter is neither Temporal's default one nor that for pydantic.
    """
    describe = _describer(converter)
    schemas: dict[str, TypeSchema] = {}
    problems: list[str] = []
    for name, one in sorted(declared.items()):
        if name == DYNAMIC_TYPE:
            continue
        try:
            arguments, result = _arguments(one, describe), _result(one, describe)
        except ConfigurationError as error:
            problems.append(f"{name}: {error}")
        else:
            schemas[name] = TypeSchema(name, one.queue, arguments, result)
    return Described(schemas, tuple(problems))


def _describer(converter: type[PayloadConverter]) -> Describe:
    if converter is DefaultPayloadConverter:
        return describe_by_default
    if issubclass(converter, PydanticPayloadConverter):
        return describe_by_pydantic
    raise ConfigurationError(
        f"the JSON that {converter.__module__}.{converter.__qualname__} writes is not known: there are schemas for"
        " Temporal's default payload converter and for that of temporalio.contrib.pydantic (DELEGATOR_DATA_CONVERTER)"
    )


def _arguments(declared: DelegatedType, describe: Describe) -> Json:
    if declared.arg_types is None:
        return {"$schema": _DIALECT, "type": "array"}
    names = declared.arg_names or tuple(f"argument {number}" for number in range(1, len(declared.arg_types) + 1))
    wanted = [
        Wanted(_converted(hint), name, Direction.WRITTEN) for name, hint in zip(names, declared.arg_types, strict=True)
    ]
    schemas, definitions = _described(wanted, describe)
    return _with_definitions(
        {
            "type": "array",
            "prefixItems": [{"title": one.place, **schema} for one, schema in zip(wanted, schemas, strict=True)],
            "items": False,
            "minItems": len(wanted) - declared.optional_args,
        },
        definitions,
    )


def _result(declared: DelegatedType, describe: Describe) -> Json:
    wanted = Wanted(_converted(declared.return_type), "result", Direction.READ)
    (schema,), definitions = _described([wanted], describe)
    return _with_definitions(schema, definitions)


def _with_definitions(schema: Json, definitions: Json) -> Json:
    return {"$schema": _DIALECT, **schema, **({"$defs": definitions} if definitions else {})}


def _described(wanted: list[Wanted], describe: Describe) -> tuple[list[Json], Json]:
    """Describe whole payloads. Some types have an encoding of their own there, and the others are JSON."""
    options = [_options(one) for one in wanted]
    flat = [option for of_one in options for option in of_one]
    found, definitions = describe([option for option in flat if _of_payload(option) is None])
    rest = iter(found)
    schemas = []
    for of_one in options:
        described = [next(rest) if (fixed := _of_payload(option)) is None else fixed for option in of_one]
        schemas.append({"anyOf": described} if len(described) > 1 else described[0])
    return schemas, definitions


def _options(one: Wanted) -> list[Wanted]:
    """Return the types of a union that has some with an encoding of their own; else the type itself."""
    if typing.get_origin(one.hint) in (typing.Union, types.UnionType):
        options = [replace(one, hint=hint) for hint in typing.get_args(one.hint)]
        if any(_of_payload(option) is not None for option in options):
            return options
    return [one]


def _of_payload(one: Wanted) -> Json | None:
    """Return the schema of a type whose payloads have an encoding of their own; None: it is written as json/plain."""
    hint = one.hint
    if hint is None or hint is RawValue:
        return {}
    if hint is bytes and one.direction is Direction.WRITTEN:
        # As a result, bytes may come so, too; and the converters also read them from JSON.
        about = "The data, in Base64, of a payload with the encoding binary/plain."
        return {"type": "string", "contentEncoding": "base64", "description": about}
    if inspect.isclass(hint) and issubclass(hint, Message):
        # Its JSON form need not be an object: a Timestamp, for one, is a text.
        return {"description": f"The JSON form of the protobuf message {hint.DESCRIPTOR.full_name}."}
    return None


def _converted(hint: Any) -> Any:
    """Return the type that is converted in place of one with `@transfer_type_convertible`."""
    converter = getattr(hint, _TRANSFER_ATTRIBUTE, None) if inspect.isclass(hint) else None
    if converter is None:
        return hint
    if converter.transfer_type is None:
        raise ConfigurationError(f"the converter of {reprlib.repr(hint)} names no transfer_type")
    return converter.transfer_type
