"""The `http-worker` command."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from temporalio.worker import Interceptor

from delegator.cli.main import run
from delegator.cli.options import (
    DEFAULT_GRACE,
    DEFAULT_HOST,
    DEFAULT_STALL_LIMIT,
    NUMBER,
    GraceOption,
    HostOption,
    LogFormatOption,
    LogLevelOption,
    PortOption,
    SdkPortOption,
    StallLimitOption,
    TlsCertOption,
    TlsKeyOption,
    set_up_logging,
)
from delegator.cli.version import version_option
from delegator.config import Settings
from delegator.durations import parse_duration
from delegator.errors import DelegatorError
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.memory import collect_rarely
from delegator.runtime.modules import load_handlers
from delegator.runtime.named_objects import load_named
from delegator.runtime.server_tls import TlsFiles
from delegator.runtime.shutdown import end_process_within, shutdown_signals
from http_workers.event_loop import run_guarded
from http_workers.options import ClaimMode, WorkerOptions
from http_workers.supervisor import EXIT_REFUSED, ChildArguments, die_with_supervisor, supervise
from http_workers.winding_down import LONGEST_STOP
from http_workers.worker import HttpWorker

_LEAVE: Final = timedelta(seconds=3)
"""How long threads may take to end when the worker has stopped."""

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(name="http-worker")
def http_worker(
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Module with handlers, like yourpkg.tasks; may be repeated."),
    ] = None,
    activities: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE", help="Module whose existing @activity.defn functions are handlers as they are."),
    ] = None,
    interceptor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="Temporal interceptor that every handler runs through, or a function that returns one; may be "
            "repeated, the first one is the outermost.",
        ),
    ] = None,
    queue: Annotated[str, typer.Option(help="Queue to serve; one of DELEGATOR_QUEUES.")] = "default",
    concurrency: Annotated[int, typer.Option(help="Most jobs run at once, by each process.", **NUMBER)] = 200,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Most plain functions run at once, by each process, each in a thread; by default --concurrency.",
            **NUMBER,
        ),
    ] = None,
    processes: Annotated[int, typer.Option(help="Worker processes.", **NUMBER)] = 1,
    host: HostOption = DEFAULT_HOST,
    port: PortOption = 0,
    sdk_port: SdkPortOption = 0,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    grace: GraceOption = DEFAULT_GRACE,
    claim: Annotated[
        ClaimMode,
        typer.Option(
            help="lease: safe; none: faster, but a redelivery is a second execution, and so is a run longer than a "
            "third of DELEGATOR_LEASE; heartbeats are not kept, and running jobs don't hear of cancellations."
        ),
    ] = ClaimMode.LEASE,
    via: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Take the jobs from the gateway at this URL, without access to PostgreSQL and to the stream. Its "
            "token is in DELEGATOR_GATEWAY_TOKEN or in the file that DELEGATOR_GATEWAY_TOKEN_FILE names.",
            show_default=False,
        ),
    ] = None,
    stall_limit: StallLimitOption = DEFAULT_STALL_LIMIT,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
    process_index: Annotated[int | None, typer.Option(hidden=True)] = None,
    supervisor_directory: Annotated[Path | None, typer.Option(hidden=True)] = None,
    supervisor_pid: Annotated[int | None, typer.Option(hidden=True)] = None,
    _version: Annotated[bool, version_option("http-worker")] = False,
) -> None:
    """Run the jobs of a queue. SIGTERM or Ctrl-C stops it gracefully, a second one at once."""
    place: ChildArguments | None = None
    if process_index is not None and supervisor_directory is not None and supervisor_pid is not None:
        place = ChildArguments(index=process_index, directory=supervisor_directory, supervisor=supervisor_pid)
        die_with_supervisor(supervisor_pid)
    options = WorkerOptions(
        modules=tuple(imports or ()),
        activities=tuple(activities or ()),
        interceptors=tuple(interceptor or ()),
        queue=queue,
        concurrency=concurrency,
        threads=threads,
        processes=processes,
        host=host,
        port=port,
        tls=TlsFiles.given(tls_cert, tls_key),
        sdk_port=sdk_port,
        grace=parse_duration(grace, "--grace"),
        claim=claim,
        via=via,
        stall_limit=parse_duration(stall_limit, "--stall-limit"),
        process_index=place.index if place else None,
        health_socket=place.socket if place else None,
    )
    try:
        settings = Settings.load()
        options.validate(settings)
        set_up_logging(settings, log_format, log_level, {"worker": place.index} if place else None)
        if place is None and options.processes > 1:
            _supervise(options)
        else:
            _work(options, settings)
    except DelegatorError as error:
        if place is None:
            raise
        place.refusal.write_text(str(error))
        raise typer.Exit(EXIT_REFUSED) from None


def main() -> None:
    """Run the command and end the process with its exit status."""
    status = run(lambda: app, "http-worker")
    end_process_within(_LEAVE, status)
    sys.exit(status)


def _supervise(options: WorkerOptions) -> None:
    command = (sys.executable, "-m", "http_workers", *sys.argv[1:])
    if not asyncio.run(supervise(options, command)):
        raise typer.Exit(1)


def _work(options: WorkerOptions, settings: Settings) -> None:
    handlers = load_handlers(options.modules, options.queue, options.activities)
    interceptors = [
        load_named("--interceptor", name, Interceptor, "a temporalio.worker.Interceptor")
        for name in options.interceptors
    ]
    collect_rarely()
    worker = HttpWorker(
        handlers,
        queue=options.queue,
        concurrency=options.concurrency,
        threads=options.threads,
        interceptors=interceptors,
        runtime=options.sdk_runtime(),
        settings=settings,
        grace=options.grace,
        claim=options.claim,
        via=options.via,
        stall_limit=options.stall_limit,
    )
    run_guarded(_run(worker, options))


async def _run(worker: HttpWorker, options: WorkerOptions) -> None:
    with options.health_server(worker.health):
        async with shutdown_signals(at_the_latest=options.grace + LONGEST_STOP) as shutdown:
            stopping = asyncio.create_task(_stop_when(shutdown.requested, worker))
            try:
                await worker.run()
            finally:
                stopping.cancel()


async def _stop_when(requested: asyncio.Event, worker: HttpWorker) -> None:
    await requested.wait()
    await worker.shutdown()
