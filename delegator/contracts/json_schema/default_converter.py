"""The JSON of Temporal's default payload converter.

It is written by `temporalio.converter.AdvancedJSONEncoder` and read by `temporalio.converter.value_to_type`. The order
of the questions here is that of `value_to_type`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import re
import types
import typing
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, Flag
from typing import Any, Final, Literal, TypeVar

import typing_extensions

from delegator.contracts.json_schema.schema import Direction, Json, Wanted
from delegator.errors import ConfigurationError

_ADVICE: Final = "change the type, or set DELEGATOR_DATA_CONVERTER=temporalio.contrib.pydantic:pydantic_data_converter"
_BYTES: Final[Json] = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
_DATETIME: Final[Json] = {
    "type": "string",
    "description": "A date and a time as in ISO 8601, with or without the offset from UTC.",
    "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\\.[0-9]{1,6})?"
    "(Z|[+-]([01][0-9]|2[0-3])(:[0-5][0-9]){1,2}(\\.[0-9]{6})?)?$",
}
_SCALARS: Final[dict[Any, Json]] = {
    Any: {},
    datetime: _DATETIME,
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    bytes: _BYTES,
    type(None): {"type": "null"},
}
_REQUIRED: Final[tuple[Any, ...]] = (typing.Required, typing_extensions.Required)
_NOT_REQUIRED: Final[tuple[Any, ...]] = (typing.NotRequired, typing_extensions.NotRequired)
_UUID: Final[Json] = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
_KEYS: Final[dict[Any, Json]] = {
    Any: {},
    str: {},
    int: {"pattern": "^-?[0-9]+$"},
    float: {"pattern": "^(-?[0-9]+(\\.[0-9]+)?(e[+-]?[0-9]+)?|-?Infinity|NaN)$"},
    bool: {"enum": ["true", "false"]},
    type(None): {"enum": ["null"]},
}
"""What the names of an object's members look like, by the type of a mapping's keys."""


def describe_by_default(wanted: Sequence[Wanted]) -> tuple[list[Json], Json]:
    """Return the schemas of some types, and the definitions that they refer to.

    A value that the converter has written fits its schema. The converter reads each value that fits, but for what no
    schema can say: dates such as 30 February, and a whole number written as 1.0 for an enum.

    Raises:
        ConfigurationError: the converter can't write or read a type.
    """
    describer = _Describer()
    return [describer.of(one) for one in wanted], describer.definitions


class _Describer:
    def __init__(self) -> None:
        self.definitions: Json = {}
        self._names: dict[tuple[Any, Direction], str] = {}

    def of(self, one: Wanted) -> Json:
        hint = one.hint
        if _is_known(hint, _SCALARS):
            return dict(_SCALARS[hint])
        supertype = getattr(hint, "__supertype__", None)  # of a NewType
        if supertype is not None:
            return self.of(dataclasses.replace(one, hint=supertype))
        origin = typing.get_origin(hint) or hint
        if origin in (Literal, typing_extensions.Literal):
            return {"enum": [self._literal(value, one) for value in hint.__args__]}
        if origin in (typing.Union, types.UnionType):
            return self._union(one)
        if not inspect.isclass(origin):
            raise _unfit(one)
        return self._of_class(one, origin)

    def _of_class(self, one: Wanted, origin: type) -> Json:
        if issubclass(origin, collections.abc.Mapping):
            return self._mapping(one, origin)
        if dataclasses.is_dataclass(origin):
            # The converter does not know a generic dataclass with its arguments.
            if origin is not one.hint:
                raise _unfit(one, "name a dataclass of its own for each use")
            return self._named(one, self._dataclass)
        if inspect.getattr_static(origin, "parse_obj", None) is not None:
            raise _unfit(one)  # it can, but by interfaces that pydantic is about to drop
        if issubclass(origin, Enum) and issubclass(origin, int | str):
            return self._named(one, self._enum)
        if issubclass(origin, uuid.UUID):
            return dict(_UUID)
        if issubclass(origin, str):
            raise _unfit(one, "the converter would read it as a list of letters; use str, or typing.NewType")
        if issubclass(origin, bytearray):
            return dict(_BYTES)
        if issubclass(origin, collections.abc.Iterable):
            return self._iterable(one, origin)
        raise _unfit(one)

    def _union(self, one: Wanted) -> Json:
        options: list[Json] = []
        for hint in typing.get_args(one.hint):
            schema = self.of(dataclasses.replace(one, hint=hint))
            if schema not in options:
                options.append(schema)
        return {"anyOf": options} if len(options) > 1 else options[0]

    def _mapping(self, one: Wanted, origin: type) -> Json:
        if typing.is_typeddict(origin) or typing_extensions.is_typeddict(origin):
            if origin is not one.hint:
                raise _unfit(one, "name a TypedDict of its own for each use")
            return self._named(one, self._typed_dict)
        key, value = (*_parameters(one.hint), Any, Any)[:2]
        schema: Json = {"type": "object"}
        if names := self._key(dataclasses.replace(one, hint=key)):
            schema["propertyNames"] = names
        if values := self.of(dataclasses.replace(one, hint=value)):
            schema["additionalProperties"] = values
        return schema

    def _key(self, one: Wanted) -> Json:
        hint = one.hint
        if _is_known(hint, _KEYS):
            return dict(_KEYS[hint])
        origin = typing.get_origin(hint) or hint
        supertype = getattr(hint, "__supertype__", None)
        if supertype is str or (origin in (typing.Union, types.UnionType) and str in typing.get_args(hint)):
            return {}
        if origin in (Literal, typing_extensions.Literal) and all(type(value) is str for value in hint.__args__):
            return {"enum": list(hint.__args__)}
        if inspect.isclass(origin) and issubclass(origin, Enum) and not issubclass(origin, Flag):
            if issubclass(origin, int):
                return {"enum": [str(int(member)) for member in origin]}
            if issubclass(origin, str):
                return {"enum": [_written(member) for member in origin]}
        raise _unfit(one, "the keys of a mapping can be str, int, float, bool, and enums of str or int")

    def _iterable(self, one: Wanted, origin: type) -> Json:
        if hasattr(origin, "_fields"):
            # A named tuple is written as a list, and its items are read without their types.
            hints = self._hints(origin, one)
            items = [{"title": name, **self._member(one, name, hints.get(name, Any))} for name in origin._fields]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
        items_of = _parameters(one.hint)
        if origin is tuple and typing.get_args(one.hint)[-1:] != (...,) and _is_parametrized(one.hint):
            schemas = [self.of(dataclasses.replace(one, hint=hint)) for hint in items_of]
            fixed: Json = {"type": "array", "items": False, "minItems": len(schemas)}
            return {"prefixItems": schemas, **fixed} if schemas else fixed
        item = self.of(dataclasses.replace(one, hint=items_of[0])) if items_of else {}
        return {"type": "array", "items": item} if item else {"type": "array"}

    def _dataclass(self, one: Wanted) -> Json:
        fields = dataclasses.fields(one.hint)
        hints = self._hints(one.hint, one)
        required = [
            field.name
            for field in fields
            if one.direction is Direction.WRITTEN
            or (field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)
        ]
        return self._object(one, {field.name: hints[field.name] for field in fields}, required)

    def _typed_dict(self, one: Wanted) -> Json:
        # `__required_keys__` does not see NotRequired if annotations are texts (`from __future__ import annotations`).
        marks = {
            name: typing.get_origin(hint)
            for name, hint in typing_extensions.get_type_hints(one.hint, include_extras=True).items()
        }
        required = [
            name
            for name, mark in marks.items()
            if mark not in _NOT_REQUIRED and (mark in _REQUIRED or name in one.hint.__required_keys__)
        ]
        return self._object(one, self._hints(one.hint, one), required)

    def _object(self, one: Wanted, members: Json, required: Sequence[str]) -> Json:
        schema: Json = {
            "type": "object",
            "properties": {name: self._member(one, name, hint) for name, hint in members.items()},
        }
        if required:
            schema["required"] = list(required)
        documentation = vars(one.hint).get("__doc__") or ""
        # A dataclass without documentation has its signature there.
        if documentation and not documentation.startswith(f"{one.hint.__name__}("):
            schema["description"] = re.split(r"\n\s*\n", inspect.cleandoc(documentation))[0]
        return schema

    def _enum(self, one: Wanted) -> Json:
        kind = {"type": "integer" if issubclass(one.hint, int) else "string"}
        return kind if issubclass(one.hint, Flag) else {**kind, "enum": [_written(member) for member in one.hint]}

    def _named(self, one: Wanted, build: Callable[[Wanted], Json]) -> Json:
        """Describe a class once. It may refer to itself."""
        key = (one.hint, one.direction)
        name = self._names.get(key)
        if name is None:
            name = one.hint.__name__
            if name in self.definitions:
                name = f"{one.hint.__module__}.{one.hint.__qualname__}"
            self._names[key] = name
            self.definitions[name] = {}
            self.definitions[name] = build(one)
        return {"$ref": f"#/$defs/{name}"}

    def _member(self, one: Wanted, name: str, hint: Any) -> Json:
        return self.of(dataclasses.replace(one, hint=hint, place=f"{one.hint.__name__}.{name}"))

    def _hints(self, owner: Any, one: Wanted) -> dict[str, Any]:
        try:
            return typing.get_type_hints(owner)
        except NameError as error:
            raise ConfigurationError(
                f"{one.place}: {error}, which {owner.__qualname__} needs: import it at run time too"
            ) from None

    def _literal(self, value: Any, one: Wanted) -> Any:
        if value is not None and not isinstance(value, str | int):
            raise _unfit(one)
        return _written(value)


def _is_known(hint: Any, table: dict[Any, Json]) -> bool:
    try:
        return hint in table
    except TypeError:  # of an annotation that has no hash
        return False


def _is_parametrized(hint: Any) -> bool:
    return typing.get_origin(hint) is not None and hint is not typing.Tuple  # noqa: UP006


def _parameters(hint: Any) -> tuple[Any, ...]:
    """Return the arguments of a generic type. A type variable, and so its absence, means any type."""
    found = [Any if isinstance(one, TypeVar) else one for one in typing.get_args(hint) if one is not ...]
    return tuple(found)


def _written(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _unfit(one: Wanted, advice: str = _ADVICE) -> ConfigurationError:
    shown = one.hint.__qualname__ if inspect.isclass(one.hint) else str(one.hint)
    return ConfigurationError(f"Temporal's default data converter can't convert {shown} ({one.place}): {advice}")
