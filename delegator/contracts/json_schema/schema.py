"""What the describers of data converters have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object."""


class Direction(Enum):
    """Which way a value goes."""

    WRITTEN = "written"
    """The data converter writes it, and a worker reads it: an argument."""
    READ = "read"
    """A worker writes it, and the data converter reads it: a result."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A type to describe."""

    hint: Any
    """The annotation."""
    place: str
    """Where it stands, for a message: the name of the argument."""
    direction: Direction
    """Which way its values go."""


Describe: TypeAlias = Callable[[Sequence[Wanted]], tuple[list[Json], Json]]
"""Returns the schemas of some types, and the definitions that they refer to as `#/$defs/NAME`.

It raises ConfigurationError for a type that the data converter can't convert."""
