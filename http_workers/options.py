"""The options of a worker process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from delegator_schema.queues import DEFAULT_QUEUE
from temporalio.runtime import Runtime

from delegator.config import Settings
from delegator.contracts import Handler
from delegator.errors import ConfigurationError
from delegator.runtime.health import Health, HealthServer
from delegator.runtime.sdk_metrics import runtime_with_metrics
from delegator.runtime.server_tls import TlsFiles
from http_workers.via.address import base_url

_MAX_CONCURRENCY: Final = 100_000
_MAX_PROCESSES: Final = 1024
_MAX_PORT: Final = 65_535


class ClaimMode(StrEnum):
    """Whether a worker claims a job before it runs it."""

    LEASE = "lease"
    """Claim the row under a lease, with a fencing token. It is safe whatever the stream does."""
    NONE = "none"
    """Run the rows that the stream names, without a claim. Less is written. A redelivery is a second execution. So is a
    run that is longer than a third of a lease, because the sweeper takes the unclaimed row for lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The options of one worker process."""

    modules: tuple[str, ...] = ()
    """Dotted names of the modules that hold the handlers."""
    activities: tuple[str, ...] = ()
    """Dotted names of modules whose existing activities are handlers."""
    interceptors: tuple[str, ...] = ()
    """Names of activity interceptors, as `package.module:attribute`."""
    queue: str = DEFAULT_QUEUE
    """The queue served."""
    concurrency: int = 200
    """Most jobs run at once, by each process."""
    threads: int | None = None
    """Most plain functions run at once, by each process; None: as many as jobs."""
    processes: int = 1
    """Worker processes; above 1 a parent supervises them."""
    host: str = "127.0.0.1"
    """Address of the health and metrics server."""
    port: int = 0
    """TCP port of the health and metrics server; 0: none."""
    tls: TlsFiles | None = None
    """Its certificate; None: it serves plain HTTP."""
    sdk_port: int = 0
    """TCP port of the metrics of Temporal's SDK at the same address; 0: none. Process N serves them N ports above."""
    grace: timedelta = timedelta(seconds=30)
    """How long running jobs may go on after a request to stop."""
    claim: ClaimMode = ClaimMode.LEASE
    """Whether jobs are claimed."""
    via: str | None = None
    """Base URL of the gateway that gives the jobs; None: they come from the stream and the database."""
    stall_limit: timedelta = timedelta(seconds=30)
    """How long a loop may make no progress before `/livez` says so."""
    process_index: int | None = None
    """Index of this process; None: there is no supervisor."""
    health_socket: Path | None = None
    """Unix socket on which a supervised process answers its supervisor."""

    def validate(self, settings: Settings) -> None:
        """Check the values before anything is started.

        Args:
            settings: declares the queues.

        Raises:
            ConfigurationError: names the option.
        """
        if not self.modules and not self.activities:
            raise ConfigurationError("name the module with your handlers: --import yourpkg.tasks")
        self.validate_pool(settings, "--")
        _within("--processes", self.processes, 1, _MAX_PROCESSES)
        _within("--port", self.port, 0, _MAX_PORT)
        _within("--sdk-port", self.sdk_port, 0, _MAX_PORT + 1 - self.processes)

    def validate_pool(self, settings: Settings, prefix: str) -> None:
        """Check the options that a worker within another program has too.

        Args:
            settings: declares the queues.
            prefix: stands before the options' names in messages: `--` for a command line.

        Raises:
            ConfigurationError: names the option.
        """
        if self.via is not None:
            base_url(self.via)
            if self.claim is ClaimMode.NONE:
                raise ConfigurationError(
                    f"{prefix}claim none: a gateway claims each job; leave it out with {prefix}via"
                )
        elif self.queue not in settings.queues:
            declared = ", ".join(settings.queues)
            raise ConfigurationError(
                f"{prefix}queue {self.queue}: not a declared queue (DELEGATOR_QUEUES declares {declared}); "
                "add it to DELEGATOR_QUEUES and run `delegator migrate`"
            )
        _within(f"{prefix}concurrency", self.concurrency, 1, _MAX_CONCURRENCY)
        if self.threads is not None:
            _within(f"{prefix}threads", self.threads, 1, _MAX_CONCURRENCY)
        if self.grace < timedelta(0):
            raise ConfigurationError(f"{prefix}grace: must not be negative")
        if self.stall_limit < timedelta(seconds=1):
            name = f"{prefix}stall-limit" if prefix else "stall_limit"
            raise ConfigurationError(f"{name}: must be at least 1 second")

    def for_handlers(self, handlers: Mapping[str, Handler]) -> WorkerOptions:
        """Return the options with no more slots than threads, if every handler of the queue needs a thread.

        A job that could not begin would only keep other workers from it.

        Args:
            handlers: by delegated activity type.
        """
        served = [handler for handler in handlers.values() if handler.type.queue == self.queue]
        if self.threads is None or any(handler.is_async for handler in served):
            return self
        return replace(self, concurrency=min(self.concurrency, self.threads))

    def sdk_runtime(self) -> Runtime | None:
        """Return the runtime of Temporal's SDK for this process; None: its default one.

        Raises:
            ConfigurationError: the SDK can't listen there.
        """
        return runtime_with_metrics(self.host, self.sdk_port and self.sdk_port + (self.process_index or 0))

    def health_server(self, health: Health) -> AbstractContextManager[HealthServer | None]:
        """Return the health server of these options, not open yet. Without a port it is an empty context.

        Args:
            health: the answers of the server.
        """
        if self.health_socket is not None:
            return HealthServer(health, path=self.health_socket)
        if self.port:
            return HealthServer(health, host=self.host, port=self.port, tls=self.tls)
        return nullcontext()


def _within(option: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigurationError(f"{option} {value}: must be from {least} to {most}")
