"""Imports the modules that users name, and says in one line what is wrong with them."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from delegator.contracts import DelegatedType, Handler, collect_handlers, collect_types
from delegator.errors import ConfigurationError

_log = logging.getLogger(__name__)


def load_handlers(names: Sequence[str], queue: str) -> dict[str, Handler]:
    """Import modules and return their handlers by the name of their type, of whatever queue.

    The current directory is importable, as with `python -m`.

    Args:
        names: dotted names.
        queue: the queue to be served; some handler must be for it.

    Raises:
        ConfigurationError: a module can't be imported, or holds no handler; none is for `queue`.
    """
    _add_current_directory()
    modules = [_import(name) for name in dict.fromkeys(names)]
    for module in modules:
        if not collect_handlers([module]):
            raise ConfigurationError(
                f"--import {module.__name__}: the module has no handler; decorate a function with @delegated"
            )
    handlers = collect_handlers(modules)
    if not any(handler.type.queue == queue for handler in handlers.values()):
        served = ", ".join(sorted({handler.type.queue for handler in handlers.values()}))
        raise ConfigurationError(f"--queue {queue}: no imported handler is for this queue, only for: {served}")
    return handlers


def load_types(names: Sequence[str]) -> dict[str, DelegatedType]:
    """Import modules and return the delegated activity types they declare, contracts included, by name.

    Args:
        names: dotted names.

    Raises:
        ConfigurationError: a module can't be imported, or declares no type.
    """
    _add_current_directory()
    modules = [_import(name) for name in dict.fromkeys(names)]
    for module in modules:
        if not collect_types([module]):
            raise ConfigurationError(
                f"--import {module.__name__}: the module declares no delegated activity type; "
                "decorate a function with @delegated or @contract"
            )
    return collect_types(modules)


def _add_current_directory() -> None:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _import(name: str) -> ModuleType:
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(f"--import {name}: not a module's name; write it like yourpkg.tasks")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"--import {name}: no module named {error.name!r} here ({Path.cwd()}) or in the installed packages"
            ) from None
        raise _broken(name, error) from None
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from None


def _broken(name: str, error: BaseException) -> ConfigurationError:
    _log.debug("import_failed", exc_info=error)
    said = " ".join(str(error).split())
    frames = [] if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return ConfigurationError(
        f"--import {name}: importing the module raised {type(error).__name__}{': ' if said else ''}{said}{place}"
    )
