"""What is running: the versions, as a series."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

_DISTRIBUTION: Final = "temporal-delegator"


def new_registry() -> CollectorRegistry:
    """Return a registry for a process of ours. It says which versions run."""
    registry = CollectorRegistry()
    show_build(registry)
    return registry


def show_build(registry: CollectorRegistry) -> None:
    """Register a series whose labels hold the versions, as Prometheus's own programs do.

    Args:
        registry: of the process; it gets the series once.
    """
    info = Gauge(
        "delegator_build_info",
        "1; its labels say which versions run",
        ["version", "python", "temporalio"],
        registry=registry,
    )
    info.labels(version(_DISTRIBUTION), platform.python_version(), version("temporalio")).set(1)
