"""The search attributes of workflows that wait for jobs, if `DELEGATOR_SEARCH_ATTRIBUTES` is on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from temporalio.common import SearchAttributeKey

TYPES: Final = SearchAttributeKey.for_keyword_list("DelegatorTypes")
"""The types of the jobs that the run has waited for longer than inline."""
RETRYING: Final = SearchAttributeKey.for_bool("DelegatorRetrying")
"""Whether a job of the run had failed and was retried when the run last asked for its jobs."""
KINDS: Final = ((TYPES.name, "KeywordList"), (RETRYING.name, "Bool"))
"""Names and kinds, as Temporal's CLI writes them."""

_LONGEST_NAME: Final = 200
"""In bytes. A store for visibility in SQL takes 255 characters."""
_MOST_BYTES: Final = 1_500
"""Of all names. Temporal allows 2 KiB by default; see `limit.searchAttributesSizeOfValueLimit` of its server."""


def create_command(namespace: str) -> str:
    """Return the command that creates the search attributes."""
    attributes = " ".join(f"--name {name} --type {kind}" for name, kind in KINDS)
    return f"temporal operator search-attribute create --namespace {namespace} {attributes}"


def fitting(types: Iterable[str]) -> list[str]:
    """Return those of the types, sorted, for which Temporal has room."""
    left, found = _MOST_BYTES, []
    for name in sorted(types):
        size = len(name.encode())
        left -= size + 3  # quotes and a comma
        if size <= _LONGEST_NAME and left >= 0:
            found.append(name)
    return found
