"""Sets the search attributes by which people find the workflows that wait for jobs.

Each change is an event in the history. So a run whose jobs end inline sets none, and the others set a value only if it
differs. Whether a run sets them is recorded in the replies that it gets, because a replay must do the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from temporalio import workflow

from delegator.contracts.search_attributes import RETRYING, TYPES, fitting


class SearchAttributes:
    """The search attributes of one run."""

    __slots__ = ("_info", "_is_on", "_types")

    def __init__(self, info: workflow.Info) -> None:
        """Begin without setting any.

        Args:
            info: of the workflow.
        """
        self._info = info
        self._types: set[str] = set()
        self._is_on = False

    def waits_for(self, types: Iterable[str]) -> None:
        """Note the types of jobs that did not end inline. The reply has said that search attributes are set."""
        if not self._is_on:
            self._is_on = True
            self.retries(is_retrying=False)  # a run before, which this one continues, may have left it true
        self._types.update(types)
        shown = fitting(self._types)
        if list(self._info.typed_search_attributes.get(TYPES, [])) != shown:
            workflow.upsert_search_attributes([TYPES.value_set(shown)])

    def retries(self, *, is_retrying: bool) -> None:
        """Note whether a job that the run waits for is retried."""
        if self._is_on and self._info.typed_search_attributes.get(RETRYING, False) is not is_retrying:
            workflow.upsert_search_attributes([RETRYING.value_set(is_retrying)])
