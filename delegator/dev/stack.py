"""The embedded stack: PostgreSQL, Temporal, the schema, the relay and the sweeper on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from delegator_schema.queues import DEFAULT_QUEUE

from delegator.dev import postgres, temporal, temporal_postgres
from delegator.dev.component import Component
from delegator.dev.directory import StackDirectory
from delegator.dev.migrations import migrate_database
from delegator.dev.ports import LOOPBACK
from delegator.dev.postgres import Postgres, StopMode
from delegator.dev.programs import CODEC_SERVER, PROGRAMS, RELAY, Program, ProgramSpec
from delegator.dev.temporal import NAMESPACE, Temporal, TemporalServer
from delegator.dev.temporal_postgres import TemporalOnPostgres, TemporalPrograms
from delegator.errors import ConfigurationError, DependencyError
from delegator.runtime.exception_groups import unwrapped

_log = logging.getLogger(__name__)

TemporalKind = Literal["dev", "postgres"]


@dataclass(frozen=True)
class StackOptions:
    """How to run a stack."""

    data_dir: Path | None = None
    """Where its data and logs are; None: a temporary directory."""
    keep: bool = False
    """Keep the data when the stack ends, and Temporal's workflows in a file."""
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    """Declared queues."""
    headless: bool = False
    """Start Temporal without its web UI."""
    usual_ports: bool = True
    """Use the usual ports if they are free (54320, 7233, 8233, 7376); False: any free ports."""
    temporal_file: bool = False
    """Keep Temporal's workflows in a file even without `keep`, so that Temporal can be restarted."""
    temporal: TemporalKind = "dev"
    """`dev`: the dev server; `postgres`: Temporal's own server, with a second PostgreSQL (`temporal-postgres`)."""
    programs: tuple[ProgramSpec, ...] = PROGRAMS
    """The engine's processes to run."""
    encrypt: bool = False
    """Encrypt payloads with a key of the stack's own. A codec server decodes them for Temporal's UI."""
    codec_server: bool = False
    """Run a codec server without encryption, too: Temporal's UI then shows outcomes of jobs as JSON."""
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of each PostgreSQL server, beside those of the stack."""


class RunningStack:
    """A stack that runs. `embedded_stack` makes it."""

    temporal_namespace = NAMESPACE
    """The namespace to use."""

    def __init__(self, options: StackOptions, directory: StackDirectory) -> None:
        self.directory = directory.path
        self.queues = options.queues
        self.stream_token = directory.token()
        usual = options.usual_ports
        durable_temporal = options.keep or options.temporal_file
        self.postgres = Postgres(
            directory.path / "postgres",
            directory.log("postgres"),
            durable=options.keep,
            preferred_port=postgres.USUAL_PORT if usual else None,
            settings=options.postgres_settings,
        )
        self.temporal_postgres: Postgres | None = None
        """The PostgreSQL of Temporal's own server; None: Temporal is the dev server."""
        self.temporal: Temporal
        """The Temporal server."""
        if options.temporal == "postgres":
            self.temporal_postgres = Postgres(
                directory.path / "temporal-postgres",
                directory.log("temporal-postgres"),
                durable=durable_temporal,
                preferred_port=None,
                name="temporal-postgres",
                settings={**temporal_postgres.SETTINGS, **options.postgres_settings},
            )
            self.temporal = TemporalOnPostgres(
                directory.path / "temporal",
                directory.log("temporal"),
                self.temporal_postgres,
                TemporalPrograms.find(),
                durable=durable_temporal,
                preferred_port=temporal.USUAL_PORT if usual else None,
            )
        else:
            self.temporal = TemporalServer(
                directory.log("temporal"),
                database=directory.path / "temporal.db" if durable_temporal else None,
                headless=options.headless,
                preferred_port=temporal.USUAL_PORT if usual else None,
                preferred_ui_port=temporal.USUAL_UI_PORT if usual else None,
                codec_endpoint=lambda: self.codec_url,
            )
        self._environment: dict[str, str] = {}
        programs = options.programs
        if options.encrypt:
            self._environment["DELEGATOR_DATA_CONVERTER"] = "delegator.encryption:data_converter"
            self._environment["DELEGATOR_ENCRYPTION_KEYS_FILE"] = str(directory.encryption_keys())
        if options.encrypt or options.codec_server:
            programs = (*programs, CODEC_SERVER)
        self._programs = [
            Program(
                spec, directory.log(spec.name), self._environment, preferred_port=spec.preferred_port if usual else None
            )
            for spec in programs
            if spec.available
        ]
        servers = (self.postgres, self.temporal_postgres, self.temporal)
        self._components: dict[str, Component] = {
            component.name: component for component in (*servers, *self._programs) if component is not None
        }
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._death: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def database_url(self) -> str:
        """URL of the database that holds the queues."""
        return self.postgres.url()

    @property
    def temporal_address(self) -> str:
        """`host:port` of Temporal."""
        return self.temporal.address

    @property
    def temporal_ui_url(self) -> str | None:
        """URL of Temporal's web UI; None: headless, or not the dev server."""
        return self.temporal.ui_url

    @property
    def temporal_metrics_url(self) -> str:
        """URL of Temporal's Prometheus metrics."""
        return self.temporal.metrics_url

    @property
    def stream_url(self) -> str:
        """Base URL of the relay.

        Raises:
            DependencyError: this stack runs no relay.
        """
        url = self.program_urls.get(RELAY.name)
        if url is None:
            raise DependencyError("this stack runs no relay")
        return url

    @property
    def codec_url(self) -> str | None:
        """Base URL of the codec server; None: this stack runs none."""
        return self.program_urls.get(CODEC_SERVER.name)

    @property
    def program_urls(self) -> Mapping[str, str]:
        """Base URLs of the engine's processes that have a port, by component."""
        return {program.name: program.url for program in self._programs if program.url is not None}

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that point a process at this stack."""
        return dict(self._environment)

    @property
    def pids(self) -> Mapping[str, int]:
        """Process ids of the components that run, by name."""
        return {
            name: component.child.pid
            for name, component in self._components.items()
            if component.child is not None and component.child.returncode is None
        }

    @property
    def logs(self) -> Mapping[str, Path]:
        """Log files, by component."""
        return {name: component.log for name, component in self._components.items()}

    def pid(self, name: str) -> int:
        """Return the process id of a component.

        Raises:
            DependencyError: it does not run.
        """
        return self._component(name).pid

    async def start(self, name: str) -> None:
        """Start a component again on the same ports, and wait until it answers.

        Raises:
            DependencyError: it does not start. The message quotes its log.
        """
        component = self._component(name)
        await component.start()
        _log.info("component_started", extra={"component": name, "pid": component.pid, "log": str(component.log)})
        self._watch(component)

    async def stop(self, name: str, *, mode: StopMode = "fast") -> None:
        """Stop a component.

        Args:
            name: the component.
            mode: for PostgreSQL: `fast` ends sessions and checkpoints; after `immediate` the next start recovers.
        """
        component = self._component(name)
        self._unwatch(name)
        if isinstance(component, Postgres):
            await component.stop_by(mode)
        else:
            await component.stop()

    async def kill(self, name: str) -> None:
        """End a component with SIGKILL."""
        self._unwatch(name)
        await self._component(name).kill()

    async def restart(self, name: str, *, mode: StopMode = "fast") -> None:
        """Stop a component (see `stop`) and start it again."""
        await self.stop(name, mode=mode)
        await self.start(name)

    async def watch(self) -> None:
        """Wait until a component ends that was not stopped.

        Raises:
            DependencyError: a component ended. The message names it and quotes its log.
        """
        raise DependencyError(await asyncio.shield(self._death))

    async def open(self) -> None:
        """Start everything."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._open_database())
            group.create_task(self._open_temporal())
        self._environment |= {
            "DELEGATOR_DATABASE_URL": self.database_url,
            "DELEGATOR_STREAM_TOKEN": self.stream_token,
            "DELEGATOR_QUEUES": ",".join(self.queues),
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": self.temporal_namespace,
        }
        self._set_stream_url()
        async with asyncio.TaskGroup() as group:
            for program in self._programs:
                if program.child is None:
                    group.create_task(self.start(program.name))
        # Set again: the relay chooses another port if its own is taken.
        self._set_stream_url()

    async def close(self) -> None:
        """Stop everything, the servers last. Nothing is left running, even if this is cancelled."""
        for name in list(self._watchers):
            self._unwatch(name)
        try:
            for program in reversed(self._programs):
                await program.stop()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._close_temporal())
                group.create_task(self.postgres.stop())
        finally:
            for component in self._components.values():
                if component.child is not None:
                    await component.kill()
                component.release()

    async def _open_database(self) -> None:
        await self.start(self.postgres.name)
        await migrate_database(await self.postgres.ensure_database(), self.queues)

    async def _open_temporal(self) -> None:
        if self.temporal_postgres is not None:
            await self.start(self.temporal_postgres.name)
        ui = self.temporal.ui_url
        if ui is None or self.codec_url is None:
            await self.start(self.temporal.name)
            return
        # Each is told the port of the other one. The codec server starts first, because Temporal can't be told later.
        self._let_page_ask_codec_server(ui)
        await self.start(CODEC_SERVER.name)
        await self.start(self.temporal.name)
        if self.temporal.ui_url not in (None, ui):  # another program had taken the port
            self._let_page_ask_codec_server(self.temporal.ui_url)
            await self.restart(CODEC_SERVER.name)

    def _let_page_ask_codec_server(self, ui: str) -> None:
        for program in self._programs:
            if program.name == CODEC_SERVER.name:
                # A browser takes the two names of one address for two origins.
                program.more_arguments = ("--origin", ui, "--origin", ui.replace(LOOPBACK, "localhost"))

    async def _close_temporal(self) -> None:
        await self.temporal.stop()
        if self.temporal_postgres is not None:
            await self.temporal_postgres.stop()

    def _set_stream_url(self) -> None:
        if RELAY.name in self._components:
            self._environment["DELEGATOR_STREAM_URL"] = self.stream_url

    def _component(self, name: str) -> Component:
        try:
            return self._components[name]
        except KeyError:
            known = ", ".join(self._components)
            raise ConfigurationError(f"the stack has no component {name!r}; it has {known}") from None

    def _watch(self, component: Component) -> None:
        self._watchers[component.name] = asyncio.create_task(self._report_death(component))

    def _unwatch(self, name: str) -> None:
        if (watcher := self._watchers.pop(name, None)) is not None:
            watcher.cancel()

    async def _report_death(self, component: Component) -> None:
        if (child := component.child) is None:
            return
        await child.wait()
        message = component.describe_end(child)
        extra = {"component": component.name, "pid": child.pid, "status": child.returncode, "log": str(component.log)}
        _log.error("component_died", extra=extra)
        if not self._death.done():
            self._death.set_result(message)


@asynccontextmanager
async def embedded_stack(options: StackOptions | None = None) -> AsyncIterator[RunningStack]:
    """Run a stack while a `with` block runs.

    If a component ends that was not stopped, the block is cancelled and DependencyError is raised. In a pytest fixture,
    where setup and teardown run in different tasks, the block can't be cancelled: the error is raised at the end.

    Args:
        options: how to run it; None: the defaults.

    Raises:
        ConfigurationError: the options can't work here. The message says why.
        DependencyError: a server did not start, or ended. The message quotes its log.
    """
    options = options or StackOptions()
    if options.temporal == "postgres":
        TemporalPrograms.find()  # checked before anything is made
    directory = StackDirectory.open(options.data_dir, keep=options.keep)
    try:
        stack = RunningStack(options, directory)
        try:
            with unwrapped():
                await stack.open()
            async with _cancelled_by_death(stack):
                yield stack
        finally:
            await stack.close()
    finally:
        directory.close()


@asynccontextmanager
async def _cancelled_by_death(stack: RunningStack) -> AsyncIterator[None]:
    body = asyncio.current_task()
    assert body is not None
    cancelled = False
    cancelling = body.cancelling()

    async def guard() -> None:
        nonlocal cancelled
        with contextlib.suppress(DependencyError):
            await stack.watch()
        cancelled = body.cancel()

    guardian = asyncio.create_task(guard())
    try:
        yield
        if cancelled:
            # The block ended at the same moment, so the cancellation arrives here.
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        if cancelled and body.uncancel() <= cancelling:
            await stack.watch()
        raise
    finally:
        guardian.cancel()
    if guardian.done() and not guardian.cancelled():
        await stack.watch()
