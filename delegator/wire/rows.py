"""Checks whether this release can read a row's format version."""

from __future__ import annotations

from delegator_schema.columns import FORMAT_VERSION


def row_problem(format_version: int) -> str | None:
    """Return why this release can't read a row; None: it can.

    Such a row is left unchanged for a newer process. During a roll-out there will be one.

    Args:
        format_version: the row's format version.
    """
    if format_version <= FORMAT_VERSION:
        return None
    return f"the row has format {format_version}, this release reads up to {FORMAT_VERSION}: update temporal-delegator"
