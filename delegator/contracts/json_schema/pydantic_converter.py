"""The JSON of Temporal's payload converter for pydantic, as pydantic itself describes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from delegator.contracts.json_schema.schema import Direction, Json, Wanted
from delegator.errors import ConfigurationError, first_line

_MODES: Final[dict[Direction, Literal["validation", "serialization"]]] = {
    Direction.WRITTEN: "serialization",
    Direction.READ: "validation",
}


def describe_by_pydantic(wanted: Sequence[Wanted]) -> tuple[list[Json], Json]:
    """Return the schemas of some types, and the definitions that they refer to.

    Raises:
        ConfigurationError: pydantic can't convert a type to JSON.
    """
    inputs = []
    for number, one in enumerate(wanted):
        try:
            adapter = TypeAdapter(one.hint)
            adapter.json_schema(mode=_MODES[one.direction])
        except PydanticUserError as error:
            raise ConfigurationError(f"pydantic can't convert {one.place}: {first_line(error)}") from None
        inputs.append((number, _MODES[one.direction], adapter))
    found, shared = TypeAdapter.json_schemas(inputs)
    # A copy without pydantic's own classes, so that every consumer gets plain JSON.
    schemas = [json.loads(json.dumps(found[number, mode])) for number, mode, _ in inputs]
    return schemas, json.loads(json.dumps(shared.get("$defs", {})))
