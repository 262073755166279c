"""The format version of rows: which rows this release can read."""

from __future__ import annotations

from delegator_schema.columns import FORMAT_VERSION


def row_problem(format_version: int) -> str | None:
    """Say why this release can't read what a row holds; None: it can.

    Such a row is left as it is, for a newer process: in a roll-out there soon is one.

    Args:
        format_version: as the row says.
    """
    if format_version <= FORMAT_VERSION:
        return None
    return f"the row has format {format_version}, this release reads up to {FORMAT_VERSION}: update temporal-delegator"
