"""Checks that the queue of every type that a process enqueues is declared."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from delegator.config import Settings
from delegator.contracts import DelegatedType
from delegator.errors import ConfigurationError

_log = logging.getLogger(__name__)


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


def warn_of_undeclared_queues(types: Iterable[DelegatedType], settings: Settings) -> None:
    """Log types whose queue is not declared. Workflows may never call them.

    Args:
        types: the types that a process may enqueue.
        settings: declares the queues.
    """
    for declared in types:
        if declared.queue not in settings.queues:
            # The queue is in the text, because the application formats these lines.
            _log.warning(
                "queue_undeclared: type %s, queue %s: add it to DELEGATOR_QUEUES and run `delegator migrate`",
                declared.name,
                declared.queue,
            )
