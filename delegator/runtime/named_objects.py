"""Objects that settings and options name, as `package.module:attribute`."""

from __future__ import annotations

import importlib
import inspect
from typing import TypeVar

from delegator.errors import ConfigurationError, DelegatorError, first_line, in_one_line

T = TypeVar("T")


def load_named(setting: str, name: str, wanted: type[T], called: str) -> T:
    """Return an object, or what a function returns that is called without arguments.

    Args:
        setting: the setting or the option, for messages.
        name: `package.module:attribute`.
        wanted: the object's class.
        called: what the object is, for messages.

    Raises:
        ConfigurationError: it can't be imported, or is something else.
    """
    setting = f"{setting} {name}"
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"{setting}: write it like package.module:attribute")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{setting}: {first_line(error)}") from None
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{setting}: importing the module raised {in_one_line(error)}") from None
    if isinstance(found, wanted):
        return found
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise ConfigurationError(f"{setting}: neither {called} nor a function that returns one")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ConfigurationError(
            f"{setting}: the function is called without arguments, and must return {called}: {error}"
        ) from None
    except ValueError:
        pass  # it does not tell its signature
    try:
        made = found()
    except DelegatorError as error:
        raise ConfigurationError(f"{setting}: {error}") from None
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{setting}: the function raised {in_one_line(error)}") from None
    if not isinstance(made, wanted):
        raise ConfigurationError(f"{setting}: it returned a value of the type {type(made).__name__}, not {called}")
    return made
