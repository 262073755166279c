"""The settings as this process would use them: each value, and where it comes from. Secrets are masked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr, TypeAdapter

from delegator.config import Settings
from delegator.postgres.connection_strings import describe_url
from delegator.runtime.temporal_settings import config_file, temporal_settings

MASK: Final = "***"
"""Stands for a secret."""
_DEFAULT: Final = "default"
_ENVIRONMENT: Final = "environment"
_OPTION: Final = "command line"
_ADDRESS: Final = "127.0.0.1:7233"
_OTHERS: Final = ("DELEGATOR_ATLAS", "DELEGATOR_CODEC_TOKEN", "DELEGATOR_ENCRYPTION_KEYS", "DELEGATOR_PG_")
"""Beginnings of the names of variables that single programs read."""


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One setting."""

    name: str
    """The variable."""
    value: str
    """As it would be written there; a secret is masked."""
    origin: str
    """`environment`, `command line`, `default`, or the file that it comes from."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All settings."""

    values: tuple[EffectiveValue, ...]
    ignored: tuple[str, ...]
    """Variables that begin as ours and that no program reads."""


def effective(environment: Mapping[str, str] | None = None, **overrides: object) -> Configuration:
    """Return the settings of this shell.

    Args:
        environment: the variables; None: the process's.
        overrides: settings given on the command line; None means not given.

    Raises:
        ConfigurationError: a value is not valid, or a name is misspelt.
    """
    variables = os.environ if environment is None else environment
    settings = Settings.load(**overrides)
    values = []
    for name in Settings.model_fields:
        variable = Settings.variable(name)
        origin = _ENVIRONMENT if variable in variables else _DEFAULT
        if overrides.get(name) is not None:
            origin = _OPTION
        values.append(EffectiveValue(variable, _written(name, getattr(settings, name)), origin))
    known = {value.name for value in values}
    ignored = sorted(
        name
        for name in variables
        if name.startswith("DELEGATOR_") and name not in known and not name.startswith(_OTHERS)
    )
    return Configuration((*values, *_temporal(variables)), tuple(ignored))


def _temporal(variables: Mapping[str, str]) -> list[EffectiveValue]:
    connection = temporal_settings()
    file = config_file(variables)

    def of(name: str, value: object, default: str) -> EffectiveValue:
        if name in variables:
            return EffectiveValue(name, str(value), _ENVIRONMENT)
        if value is None or file is None:
            return EffectiveValue(name, default if value is None else str(value), _DEFAULT)
        return EffectiveValue(name, str(value), str(file))

    key = connection.get("api_key")
    tls = connection.get("tls")
    return [
        of("TEMPORAL_ADDRESS", connection.get("target_host"), _ADDRESS),
        of("TEMPORAL_NAMESPACE", connection.get("namespace"), "default"),
        of("TEMPORAL_API_KEY", None if key is None else MASK, ""),
        of("TEMPORAL_TLS", None if tls is None else ("true" if tls else "false"), "false"),
        EffectiveValue("TEMPORAL_CONFIG_FILE", "" if file is None else str(file), _file_origin(variables)),
        of("TEMPORAL_PROFILE", variables.get("TEMPORAL_PROFILE"), "default"),
    ]


def _file_origin(variables: Mapping[str, str]) -> str:
    return _ENVIRONMENT if variables.get("TEMPORAL_CONFIG_FILE") else _DEFAULT


def _written(name: str, value: Any) -> str:
    if name.endswith("database_url") and isinstance(value, SecretStr):
        return describe_url(value.get_secret_value(), MASK)
    if isinstance(value, SecretStr):
        return MASK
    if name.endswith("_url") and isinstance(value, str):
        return _without_password(value)
    if isinstance(value, timedelta):
        written: str = TypeAdapter(timedelta).dump_python(value, mode="json")
        return written
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={queue or ''}" for key, queue in value.items())
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    masked = parts._replace(netloc=f"{user.partition(':')[0]}:{MASK}@{host}")
    return str(urlunsplit(masked))
