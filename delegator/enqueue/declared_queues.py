"""Checks that the queue of every type that a process enqueues is declared."""

from __future__ import annotations

from collections.abc import Iterable

from delegator.config import Settings
from delegator.contracts import DelegatedType
from delegator.errors import ConfigurationError


def require_declared_queues(types: Iterable[DelegatedType], settings: Settings) -> None:
    """Make sure that the queues of types are declared.

    Args:
        types: the types that a process enqueues.
        settings: declares the queues.

    Raises:
        ConfigurationError: a queue is not declared. The message names the type and `DELEGATOR_QUEUES`.
    """
    for declared in types:
        if declared.queue not in settings.queues:
            raise ConfigurationError(
                f"queue {declared.queue!r} of type {declared.name!r} is not declared: "
                "add it to DELEGATOR_QUEUES and run `delegator migrate`"
            )
