"""Checks that the queue of every type that a process knows is declared, and ordered if the type needs it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from delegator.config import Settings
from delegator.contracts import DelegatedType
from delegator.errors import ConfigurationError

_log = logging.getLogger(__name__)


def require_declared_queues(types: Iterable[DelegatedType], settings: Settings) -> None:
    """Make sure that the queues of types are declared, and ordered where a type needs it.

    Args:
        types: the types that a process enqueues.
        settings: declares the queues.

    Raises:
        ConfigurationError: a queue is not declared, or not ordered. The message names the type and the setting.
    """
    for declared in types:
        if declared.queue not in settings.queues:
            raise ConfigurationError(
                f"queue {declared.queue!r} of type {declared.name!r} is not declared: "
                "add it to DELEGATOR_QUEUES and run `delegator migrate`"
            )
        require_order(declared, settings)


def require_order(declared: DelegatedType, settings: Settings) -> None:
    """Make sure that a type with a priority or with fleet-wide limits has an ordered queue.

    Args:
        declared: the type.
        settings: declares the queues.

    Raises:
        ConfigurationError: its queue is not ordered. The message names the type and `DELEGATOR_ORDERED_QUEUES`.
    """
    if declared.queue in settings.ordered_queues:
        return
    for option, value in (("priority", declared.options.priority), ("fleet_limits", declared.fleet_limits)):
        if value is not None:
            raise ConfigurationError(
                f"{declared.name}: {option} needs an ordered queue: add {declared.queue!r} to DELEGATOR_ORDERED_QUEUES"
            )


def require_declared_task_queues(task_queues: Mapping[str, str | None], settings: Settings) -> None:
    """Make sure that the queues of task queues are declared.

    Args:
        task_queues: the queue by the task queue; None: calls to it stay ordinary activities.
        settings: declares the queues.

    Raises:
        ConfigurationError: a queue is not declared. The message names the task queue and `DELEGATOR_QUEUES`.
    """
    for task_queue, queue in task_queues.items():
        if queue is not None and queue not in settings.queues:
            raise ConfigurationError(
                f"queue {queue!r} of the task queue {task_queue!r} is not declared: "
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
