"""Says when a call has a priority that its queue does not obey."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from delegator_schema.options import FAIRNESS_KEY, FAIRNESS_WEIGHT, PRIORITY_KEY

_log = logging.getLogger(__name__)
_ORDER: Final = frozenset((PRIORITY_KEY, FAIRNESS_KEY, FAIRNESS_WEIGHT))


class UnorderedCalls:
    """Logs the types whose calls have a priority although their queue is not ordered; each type once."""

    def __init__(self) -> None:
        """Begin with nothing logged."""
        self._logged: set[tuple[str, str]] = set()

    def note(self, options: Mapping[str, Any], job_type: str, queue: str) -> None:
        """Note a call for a queue that is not ordered.

        Args:
            options: the options of its jobs.
            job_type: the delegated activity type.
            queue: the queue.
        """
        if _ORDER.isdisjoint(options) or (job_type, queue) in self._logged:
            return
        self._logged.add((job_type, queue))
        # The reason is in the text, because the application formats these lines.
        _log.warning(
            "priority_not_obeyed: type %s, queue %s is not ordered: add it to DELEGATOR_ORDERED_QUEUES",
            job_type,
            queue,
            extra={"job_type": job_type, "queue": queue},
        )
