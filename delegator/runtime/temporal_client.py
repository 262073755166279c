"""Makes the Temporal client from the settings of the environment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, Interceptor, Plugin
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime
from temporalio.service import KeepAliveConfig, RPCError, RPCStatusCode

from delegator.errors import ConfigurationError, TemporalError, first_line
from delegator.runtime.backoff import Backoff
from delegator.runtime.connection_state import ConnectionState
from delegator.runtime.named_objects import load_named
from delegator.runtime.temporal_settings import temporal_settings

_CONVERTER: Final = "a temporalio.converter.DataConverter"
_HEALTH_TIMEOUT: Final = timedelta(seconds=5)
_ANSWER_LIMIT: Final = timedelta(seconds=10)
_HEALTH_INTERVAL_SECONDS: Final = 10.0
_REFUSALS: Final = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
# Temporal's frontend closes connections that send keep-alives more often than every 10 s (frontend.keepAliveMinTime).
_KEEP_ALIVE: Final = KeepAliveConfig(interval_millis=10_000, timeout_millis=5_000)


def load_data_converter(spec: str | None) -> DataConverter:
    """Return the data converter that a setting names.

    Args:
        spec: `package.module:attribute` of a DataConverter, or of a function that returns one; None: the default.

    Raises:
        ConfigurationError: it can't be imported, or is no data converter.
    """
    if spec is None:
        return DataConverter.default
    return load_named("DELEGATOR_DATA_CONVERTER", spec, DataConverter, _CONVERTER)


async def connect_temporal(
    converter: DataConverter,
    *,
    identity: str | None = None,
    runtime: Runtime | None = None,
    lazy: bool = True,
    plugins: Sequence[Plugin] = (),
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """Return a client for `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE` and Temporal's other settings.

    Args:
        converter: the data converter.
        identity: shown in history; None: the SDK's own.
        runtime: the SDK's runtime; None: its default.
        lazy: connect with the first call instead of now.
        plugins: the client's plugins.
        interceptors: the client's interceptors.

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


async def check_namespace(client: Client) -> str | None:
    """Make sure that Temporal answers and has the client's namespace.

    Args:
        client: may be lazy.

    Returns:
        The namespace and its id in this cluster, as `name/id`; None: the server does not say.

    Raises:
        ConfigurationError: the server has no such namespace.
        TemporalError: the server can't be reached, or refuses.
    """
    where = f"Temporal at {client.service_client.config.target_host}"
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        # The call's own limit does not include the time in which a lazy client connects.
        async with asyncio.timeout(_ANSWER_LIMIT.total_seconds()):
            reply = await client.workflow_service.describe_namespace(request, timeout=_ANSWER_LIMIT)
        return f"{client.namespace}/{reply.namespace_info.id}" if reply.namespace_info.id else None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise ConfigurationError(f"{where} has no namespace {client.namespace!r} (TEMPORAL_NAMESPACE)") from None
        if error.status in _REFUSALS:
            raise TemporalError(
                f"{where} refuses namespace {client.namespace!r} (TEMPORAL_NAMESPACE, TEMPORAL_API_KEY): "
                f"{first_line(error)}"
            ) from None
        # Temporal's test server with time skipping has no namespaces to describe.
        if error.status is not RPCStatusCode.UNIMPLEMENTED:
            raise TemporalError(f"{where} does not answer (TEMPORAL_ADDRESS): {first_line(error)}") from None
        return None
    except TimeoutError:
        raise TemporalError(f"{where} is silent (TEMPORAL_ADDRESS)") from None
    except RuntimeError as error:  # a lazy client that could not connect
        raise TemporalError(f"can't connect to {where} (TEMPORAL_ADDRESS): {first_line(error)}") from None


async def refuse_wrong_namespace(client: Client, state: ConnectionState) -> str | None:
    """Check once whether Temporal has the client's namespace. A server that does not answer is not waited for.

    Args:
        client: may be lazy.
        state: gets the state of the server.

    Returns:
        The namespace and its id in this cluster, as `name/id`; None: the server does not answer, or does not say.

    Raises:
        ConfigurationError: the server has no such namespace.
    """
    try:
        cluster = await check_namespace(client)
    except TemporalError as error:
        state.lost(str(error))
        return None
    state.restored()
    return cluster


async def watch_temporal(client: Client, state: ConnectionState) -> None:
    """Ask Temporal repeatedly for its health, until cancelled, so that readiness is known without work.

    Args:
        client: may be lazy.
        state: gets the state of the server.
    """
    backoff = Backoff()
    has_namespace = False
    while True:
        try:
            if has_namespace:
                await client.service_client.check_health(timeout=_HEALTH_TIMEOUT)
            else:
                await check_namespace(client)
                has_namespace = True
        except (ConfigurationError, TemporalError, RPCError, RuntimeError) as error:
            state.lost(first_line(error), refused=isinstance(error, ConfigurationError))
            await backoff.sleep()
        else:
            state.restored()
            backoff.reset()
            await asyncio.sleep(_HEALTH_INTERVAL_SECONDS)
