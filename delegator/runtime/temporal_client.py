"""The client of Temporal, as the environment describes it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio.client import Client, Interceptor, Plugin
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime
from temporalio.service import KeepAliveConfig, RPCError

from delegator.errors import ConfigurationError, TemporalError, first_line
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionState
from delegator.runtime.temporal_settings import temporal_settings

_HEALTH_TIMEOUT: Final = timedelta(seconds=5)
_HEALTH_INTERVAL: Final = 10.0
# Temporal's frontend closes connections that ask more often than every 10 s (frontend.keepAliveMinTime).
_KEEP_ALIVE: Final = KeepAliveConfig(interval_millis=10_000, timeout_millis=5_000)


def load_data_converter(spec: str | None) -> DataConverter:
    """Return the data converter that a setting names.

    Args:
        spec: `package.module:attribute` of a DataConverter, or of a function that returns one; None: the default.

    Raises:
        ConfigurationError: there is no such thing.
    """
    if spec is None:
        return DataConverter.default
    module, _, attribute = spec.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"DELEGATOR_DATA_CONVERTER {spec}: {first_line(error)}") from None
    converter = found() if callable(found) and not isinstance(found, DataConverter) else found
    if not isinstance(converter, DataConverter):
        raise ConfigurationError(f"DELEGATOR_DATA_CONVERTER {spec}: not a temporalio.converter.DataConverter")
    return converter


async def connect_temporal(
    converter: DataConverter,
    *,
    identity: str | None = None,
    runtime: Runtime | None = None,
    lazy: bool = True,
    plugins: Sequence[Plugin] = (),
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """Return a client for `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE` and their siblings.

    Args:
        converter: the data converter.
        identity: shown in history; None: the SDK's own.
        runtime: the SDK's runtime; None: its default.
        lazy: connect with the first call instead of now.
        plugins: of the client.
        interceptors: of the client.

    Raises:
        TemporalError: the server can't be reached (unless lazy).
        ConfigurationError: the environment's Temporal settings are wrong.
    """
    config = temporal_settings()
    config.setdefault("target_host", "127.0.0.1:7233")
    try:
        return await Client.connect(
            **config,
            data_converter=converter,
            identity=identity,
            runtime=runtime,
            lazy=lazy,
            keep_alive_config=_KEEP_ALIVE,
            plugins=plugins,
            interceptors=interceptors,
        )
    except (RuntimeError, RPCError, ValueError) as error:
        raise TemporalError(
            f"can't connect to Temporal at {config['target_host']} (TEMPORAL_ADDRESS): {first_line(error)}"
        ) from None


async def watch_temporal(client: Client, state: ConnectionState) -> None:
    """Ask Temporal now and then whether it is well, until cancelled, so that readiness does not wait for work.

    Args:
        client: may be lazy.
        state: told what the server says.
    """
    backoff = Backoff()
    while True:
        try:
            await client.service_client.check_health(timeout=_HEALTH_TIMEOUT)
        except (RPCError, RuntimeError) as error:
            state.lost(first_line(error))
            await backoff.sleep()
        else:
            state.restored()
            backoff.reset()
            await asyncio.sleep(_HEALTH_INTERVAL)
