"""Imports the modules that users name. Its errors say in one line what is wrong with them."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from delegator_schema.queues import DEFAULT_QUEUE

from delegator.contracts import (
    Declaration,
    DelegatedType,
    Resource,
    Source,
    collect,
    collect_types,
    existing_activities,
)
from delegator.contracts.collect import activities_in, declarations_in, resources_in
from delegator.errors import ConfigurationError, in_one_line

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkflowModules:
    """What a Temporal worker process found in its modules."""

    workflows: tuple[type, ...]
    """Classes with `@workflow.defn`."""
    activities: tuple[Callable[..., Any], ...]
    """Functions with `@activity.defn` that are not delegated: this worker runs them."""
    delegated: tuple[Declaration, ...]
    """Delegated activity types."""
    resources: tuple[Resource[Any], ...]
    """Resources that the activities use."""


def load_handlers(names: Sequence[str], queue: str, activities: Sequence[str] = ()) -> list[Source]:
    """Import modules with handlers and resources, of any queue. Return them as sources for `collect`.

    The current directory is importable, as with `python -m`.

    Args:
        names: dotted names (`--import`).
        queue: the queue to serve. At least one handler must be for it.
        activities: dotted names of modules whose `@activity.defn` functions are handlers too (`--activities`).

    Raises:
        ConfigurationError: a module can't be imported, or has neither a handler nor a resource, or no handler is for
            `queue`.
    """
    add_current_directory()
    modules = [_import(name, "--import") for name in dict.fromkeys(names)]
    for module in modules:
        found = collect([module])
        if not found.handlers and not found.resources:
            raise _without_handler(module)
    sources: list[Source] = [*modules]
    for name in dict.fromkeys(activities):
        module = _import(name, "--activities")
        existing = _existing(module, queue)
        if not collect(existing).handlers:
            raise ConfigurationError(
                f"--activities {name}: the module has classes with activities, and no object of them: make one in it, "
                "or a @resource that yields one"
            )
        sources += [*existing, *resources_in([module])]
    handlers = collect(sources).handlers
    if not any(handler.type.queue == queue for handler in handlers.values()):
        served = ", ".join(sorted({handler.type.queue for handler in handlers.values()})) or "none"
        raise ConfigurationError(f"--queue {queue}: no imported handler is for this queue, only for: {served}")
    return sources


def load_types(
    names: Sequence[str], activities: Sequence[str] = (), queue: str = DEFAULT_QUEUE
) -> dict[str, DelegatedType]:
    """Import modules and return the delegated activity types they declare, contracts included, by name.

    Args:
        names: dotted names (`--import`).
        activities: dotted names of modules whose `@activity.defn` functions are delegated (`--activities`).
        queue: the queue of those activities.

    Raises:
        ConfigurationError: a module can't be imported, or declares no type.
    """
    add_current_directory()
    modules = [_import(name, "--import") for name in dict.fromkeys(names)]
    for module in modules:
        if not collect_types([module]):
            raise ConfigurationError(
                f"--import {module.__name__}: the module declares no delegated activity type; "
                "decorate a function with @delegated or @contract"
            )
    return collect_types([*modules, *_existing_in(activities, queue)])


def load_workflows(names: Sequence[str], activities: Sequence[str] = (), queue: str = DEFAULT_QUEUE) -> WorkflowModules:
    """Import modules and return the workflows, activities, types and resources in them.

    Args:
        names: dotted names (`--import`).
        activities: dotted names of modules whose `@activity.defn` functions are delegated (`--activities`).
        queue: the queue of those activities.

    Raises:
        ConfigurationError: a module can't be imported, or has none of these.
    """
    add_current_directory()
    modules = [_import(name, "--import") for name in dict.fromkeys(names)]
    delegated = _existing_in(activities, queue)
    taken = {declaration.type.name for declaration in delegated}
    workflows: dict[type, None] = {}
    plain: dict[Callable[..., Any], None] = {}
    for module in modules:
        here = workflows_in(module)
        declared = declarations_in(module)
        activities_here = [
            found.function
            for found in activities_in(module)
            if found.function is not None and found.type.name not in taken
        ]
        if not (here or declared or activities_here):
            raise ConfigurationError(
                f"--import {module.__name__}: the module has no workflow, no activity and no delegated activity type"
            )
        workflows.update(dict.fromkeys(here))
        plain.update(dict.fromkeys(activities_here))
        delegated += declared
    if not workflows and not plain:
        raise ConfigurationError("--import: the modules have no workflow and no activity for this worker to run")
    collect_types(delegated)  # refuses two declarations of one type
    return WorkflowModules(tuple(workflows), tuple(plain), tuple(delegated), tuple(resources_in(modules)))


def workflows_in(module: ModuleType) -> list[type]:
    """Return the classes with `@workflow.defn` in a module, imported ones too."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and "__temporal_workflow_definition" in vars(value)
    ]


def _existing_in(names: Sequence[str], queue: str) -> list[Declaration]:
    modules = [_import(name, "--activities") for name in dict.fromkeys(names)]
    return [found for module in modules for found in _existing(module, queue)]


def _existing(module: ModuleType, queue: str) -> list[Declaration]:
    try:
        return existing_activities(module, queue=queue)
    except ConfigurationError as error:
        raise ConfigurationError(f"--activities {module.__name__}: {error}") from None


def _without_handler(module: ModuleType) -> ConfigurationError:
    declared = declarations_in(module)
    methods = sorted(found.type.name for found in declared if found.type.implemented and found.type.is_method)
    advice = "decorate a function with @delegated"
    if methods:
        advice = f"make an object of the class that declares {', '.join(methods)}, in the module or by a @resource"
    elif contracts := sorted(found.type.name for found in declared if not found.type.implemented):
        shown = ", ".join(contracts[:3]) + (", ..." if len(contracts) > 3 else "")
        advice = (
            f"it only declares contracts ({shown}): import the module whose functions implement them by "
            "@implements(contract)"
        )
    elif not declared and activities_in(module):
        advice = "it has activities: give it by --activities, or decorate them with @delegated"
    return ConfigurationError(f"--import {module.__name__}: the module has no handler; {advice}")


def add_current_directory() -> None:
    """Make the modules of the current directory importable, as with `python -m`."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _import(name: str, option: str) -> ModuleType:
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(f"{option} {name}: not a module's name; write it like yourpkg.tasks")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"{option} {name}: no module named {error.name!r} here ({Path.cwd()}) or in the installed packages"
            ) from None
        raise _broken(name, option, error) from None
    except (Exception, SystemExit) as error:
        raise _broken(name, option, error) from None


def _broken(name: str, option: str, error: BaseException) -> ConfigurationError:
    _log.debug("import_failed", exc_info=error)
    return ConfigurationError(f"{option} {name}: importing the module raised {in_one_line(error)}")
