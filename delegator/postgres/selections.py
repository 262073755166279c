"""Makes the condition of a statement from the filters that were given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


def where(selection: object, conditions: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the WHERE clause and its parameters.

    Args:
        selection: its attributes are the filters; None: not given. A named tuple is a place in an order: its fields are
            the parameters `<filter>_<field>`.
        conditions: SQL by the name of the filter. `{ago}` stands before a time, which may be a duration before now.
    """
    given = {name: value for name in conditions if (value := getattr(selection, name)) is not None}
    texts = [
        conditions[name].format(ago="now() -" if isinstance(value, timedelta) else "") for name, value in given.items()
    ]
    parameters: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            parameters |= {f"{name}_{field}": part for field, part in value._asdict().items()}
        else:
            parameters[name] = list(value) if isinstance(value, tuple | set | frozenset) else value
    return (f"WHERE {' AND '.join(texts)}" if texts else ""), parameters
