"""Reads Temporal's settings with `temporalio.envconfig`. Settings that the SDK would silently ignore are refused."""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from temporalio.envconfig import ClientConfig, ClientConnectConfig

from delegator.errors import ConfigurationError

_READ: Final = frozenset(
    {
        "CONFIG_FILE",
        "PROFILE",
        "ADDRESS",
        "NAMESPACE",
        "API_KEY",
        "TLS",
        "TLS_CLIENT_CERT_PATH",
        "TLS_CLIENT_CERT_DATA",
        "TLS_CLIENT_KEY_PATH",
        "TLS_CLIENT_KEY_DATA",
        "TLS_SERVER_CA_CERT_PATH",
        "TLS_SERVER_CA_CERT_DATA",
        "TLS_SERVER_NAME",
        # These are read elsewhere in the SDK.
        "DEBUG",
        "CORE_PRETTY_LOGS",
        "MAX_INCOMING_GRPC_BYTES",
        "POLL_SHUTDOWN_INTERRUPT_WAIT_MS",
        "PRINT_FULL_PAYLOADS",
        "WORKFLOW_TASK_DURATION_WARN_SECONDS",
    }
)
_IGNORED: Final = {
    "TLS_DISABLE_HOST_VERIFICATION": "name the server that the certificate is for: TEMPORAL_TLS_SERVER_NAME",
    "CODEC_ENDPOINT": "give the payload codec by DELEGATOR_DATA_CONVERTER",
    "CODEC_AUTH": "give the payload codec by DELEGATOR_DATA_CONVERTER",
}
"""Settings of Temporal's other SDKs and its CLI that the Python SDK ignores, each with what to do instead."""
_OTHER_NAMES: Final = {
    "HOST": "ADDRESS",
    "HOST_URL": "ADDRESS",
    "HOSTPORT": "ADDRESS",
    "TARGET_HOST": "ADDRESS",
    "SERVER": "ADDRESS",
    "SERVER_ADDRESS": "ADDRESS",
    "CLI_ADDRESS": "ADDRESS",
    "CLI_NAMESPACE": "NAMESPACE",
    "APIKEY": "API_KEY",
    "TLS_CERT": "TLS_CLIENT_CERT_PATH",
    "TLS_KEY": "TLS_CLIENT_KEY_PATH",
    "TLS_CA": "TLS_SERVER_CA_CERT_PATH",
}
"""Wrong names of settings, each with the right one."""
# Kubernetes sets variables for every service of a namespace. A service may be called `temporal`.
_OF_KUBERNETES: Final = re.compile(r"(.+_)?(PORT|SERVICE_HOST|SERVICE_PORT)(_.*)?")
_ALIKE: Final = 0.82
_SWITCH: Final = frozenset({"true", "false", "1", "0"})


def temporal_settings(environment: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """Return how to connect, from Temporal's variables (`TEMPORAL_ADDRESS`, ...) and the profile.

    Args:
        environment: the variables; None: the process's.

    Raises:
        ConfigurationError: a setting is wrong, or the SDK does not know it and would ignore it.
    """
    variables = os.environ if environment is None else environment
    for variable in sorted(variables):
        if variable.startswith("TEMPORAL_"):
            _refuse_ignored(variable)
    if (switch := variables.get("TEMPORAL_TLS")) is not None and switch.lower() not in _SWITCH:
        raise ConfigurationError(f"TEMPORAL_TLS {switch!r}: write true or false")
    _refuse_ignored_in_file(variables)
    try:
        return ClientConfig.load_client_connect_config(config_file_strict=True, override_env_vars=environment)
    except (RuntimeError, ValueError, OSError) as error:
        # The parser's error quotes a line of the file, and the line may hold a key.
        text = " ".join(line.strip() for line in str(error).splitlines() if "|" not in line)
        profile = variables.get("TEMPORAL_PROFILE")
        of_profile = f" (TEMPORAL_PROFILE is {profile})" if profile else ""
        raise ConfigurationError(f"Temporal's client settings (TEMPORAL_*) are wrong{of_profile}: {text}") from None


def _refuse_ignored(variable: str) -> None:
    name = variable.removeprefix("TEMPORAL_")
    if name in _READ or name.startswith("GRPC_META_"):
        return
    if name in _IGNORED:
        raise ConfigurationError(f"{variable}: Temporal's Python SDK ignores this setting; {_IGNORED[name]}")
    if name in _OTHER_NAMES:
        raise ConfigurationError(f"{variable}: not a setting of Temporal's; write TEMPORAL_{_OTHER_NAMES[name]}")
    if _OF_KUBERNETES.fullmatch(name):
        return
    alike = difflib.get_close_matches(name, _READ, 1, _ALIKE)
    if alike:
        raise ConfigurationError(
            f"{variable}: not a setting of Temporal's, and it would be ignored; did you mean TEMPORAL_{alike[0]}?"
        )
    if name.startswith("TLS_"):
        raise ConfigurationError(f"{variable}: not a setting of Temporal's, and it would be ignored")


def _refuse_ignored_in_file(variables: Mapping[str, str]) -> None:
    path = config_file(variables)
    if path is None:
        return
    try:
        profiles = tomllib.loads(path.read_text("utf-8")).get("profile", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    profile: Any = profiles.get(variables.get("TEMPORAL_PROFILE") or "default") if isinstance(profiles, dict) else None
    if not isinstance(profile, dict):
        return
    if "codec" in profile:
        raise ConfigurationError(
            f"{path}: Temporal's Python SDK ignores a profile's `codec`; {_IGNORED['CODEC_ENDPOINT']}"
        )
    tls = profile.get("tls")
    if isinstance(tls, dict) and tls.get("disable_host_verification"):
        raise ConfigurationError(
            f"{path}: Temporal's Python SDK ignores `disable_host_verification`; "
            "name the server that the certificate is for: `server_name`"
        )


def config_file(variables: Mapping[str, str]) -> Path | None:
    """Return the file that the SDK reads; None: there is none.

    Args:
        variables: the environment.

    Raises:
        ConfigurationError: the file that a setting names does not exist.
    """
    named = variables.get("TEMPORAL_CONFIG_FILE")
    if named:
        if not Path(named).exists():
            raise ConfigurationError(f"TEMPORAL_CONFIG_FILE {named}: there is no such file")
        return Path(named)
    home = Path(variables.get("HOME") or Path.home())
    if sys.platform == "darwin":
        directory = home / "Library" / "Application Support"
    else:
        directory = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    usual = directory / "temporalio" / "temporal.toml"
    return usual if usual.is_file() else None
