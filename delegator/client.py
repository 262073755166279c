"""Connects to Temporal, for clients and workers alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from temporalio.client import Client, Interceptor, Plugin
from temporalio.runtime import Runtime

from delegator.config import Settings
from delegator.contracts import Source
from delegator.plugin import DelegatorPlugin, PluginOptions
from delegator.runtime.temporal_client import check_namespace, connect_temporal, load_data_converter


async def connect(
    delegated: Iterable[Source] = (),
    *,
    intercept: bool | None = None,
    resources: Iterable[Source] = (),
    options: PluginOptions | None = None,
    settings: Settings | None = None,
    plugins: Sequence[Plugin] = (),
    interceptors: Sequence[Interceptor] = (),
    identity: str | None = None,
    runtime: Runtime | None = None,
    lazy: bool = False,
) -> Client:
    """Connect to Temporal with the settings of the environment. Workers made with this client can delegate.

    It reads Temporal's settings (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, profiles, ...), takes the data converter
    that `DELEGATOR_DATA_CONVERTER` names, and adds `DelegatorPlugin`. The http-workers read the same settings, so both
    sides encode payloads in the same way.

    Args:
        delegated: the `delegated` of `DelegatorPlugin`.
        intercept: delegate unchanged `workflow.execute_activity` calls of the delegated types.
        resources: resources that open while a worker runs.
        options: how to delegate.
        settings: where PostgreSQL is, and the data converter; by default read from the environment.
        plugins: more plugins.
        interceptors: interceptors.
        identity: shown in histories; by default the SDK's.
        runtime: the SDK's runtime; by default the SDK's default one.
        lazy: connect at the first call instead of now.

    Raises:
        ConfigurationError: a setting or a declaration is wrong, a setting would be ignored, or the server has no such
            namespace (unless lazy).
        TemporalError: the server can't be reached (unless lazy).
    """
    settings = settings or Settings.load()
    plugin = DelegatorPlugin(delegated, settings=settings, options=options, intercept=intercept, resources=resources)
    client = await connect_temporal(
        load_data_converter(settings.data_converter),
        identity=identity,
        runtime=runtime,
        lazy=lazy,
        plugins=[plugin, *plugins],
        interceptors=interceptors,
    )
    if not lazy:
        await check_namespace(client)
    return client
