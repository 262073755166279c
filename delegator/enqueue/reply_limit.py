"""How much a reply to an enqueue request may hold."""

from __future__ import annotations

from collections.abc import Mapping, Set

from delegator.wire.outcomes import Outcome

SMALLEST_REPLY_BYTES = 64 * 1024
"""A reply may always have this size."""


def beyond_limit(outcomes: Mapping[int, Outcome], refused: Set[int], limit_bytes: int) -> set[int]:
    """Return the positions of the outcomes that a reply has no room for.

    Args:
        outcomes: outcomes by their position in the request.
        refused: positions of jobs that have no rows. Their outcomes always stay in the reply.
        limit_bytes: largest size of the reply.
    """
    left: set[int] = set()
    if sum(len(outcome.body) for outcome in outcomes.values()) > limit_bytes:
        size = sum(len(outcomes[position].body) for position in refused)
        for position in sorted(outcomes.keys() - refused):
            body = len(outcomes[position].body)
            if size + body <= limit_bytes:
                size += body
            else:
                left.add(position)
    return left
