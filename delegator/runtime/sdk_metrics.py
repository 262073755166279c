"""Serves the metrics of Temporal's SDK."""

from __future__ import annotations

from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from delegator.errors import ConfigurationError, first_line


def runtime_with_metrics(host: str, port: int) -> Runtime | None:
    """Return a runtime of the SDK that serves its metrics; None: the port is 0, so the default runtime does.

    Args:
        host: the address.
        port: the TCP port; 0: none.

    Raises:
        ConfigurationError: the SDK can't listen there.
    """
    if not port:
        return None
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=f"{host}:{port}")))
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(f"--sdk-port {port}: {first_line(error)}") from None
