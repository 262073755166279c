"""`delegator gateway`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Final

import typer
import uvloop

from delegator.cli.options import (
    DEFAULT_GRACE,
    DEFAULT_HOST,
    NUMBER,
    GraceOption,
    HostOption,
    LogFormatOption,
    LogLevelOption,
    TlsCertOption,
    TlsKeyOption,
    TokenFileOption,
    set_up_logging,
)
from delegator.cli.type_schemas import schemas_of
from delegator.config import Settings
from delegator.durations import parse_duration
from delegator.gateway.options import GatewayOptions
from delegator.gateway.service import serve
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.memory import collect_rarely
from delegator.runtime.modules import load_types
from delegator.runtime.server_tls import TlsFiles
from delegator.runtime.shutdown import shutdown_signals

_LONGEST_STOP: Final = timedelta(seconds=30)
_DEFAULTS: Final = GatewayOptions(queues=())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gateway")(gateway)


def gateway(
    host: HostOption = DEFAULT_HOST,
    port: Annotated[
        int, typer.Option(help="Port of /v1, /metrics, /livez and /readyz; 0: any free one.", **NUMBER)
    ] = _DEFAULTS.port,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Queue to serve; may be repeated. Default: DELEGATOR_QUEUES.", show_default=False
        ),
    ] = None,
    token_file: TokenFileOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    max_polls: Annotated[
        int, typer.Option(help="Most polls that wait at a time; more are answered with 429.", **NUMBER)
    ] = _DEFAULTS.max_polls,
    max_body: Annotated[
        int, typer.Option(help="Largest body of a request, in bytes; a larger one is answered with 413.", **NUMBER)
    ] = _DEFAULTS.max_body_bytes,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Module with types whose JSON Schemas workers may ask for."),
    ] = None,
    grace: GraceOption = DEFAULT_GRACE,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Give jobs to workers in any language, over HTTP. SIGTERM or Ctrl-C stops it gracefully.

    Requests need a token of --token-file, one a line: TOKEN [queues=NAME,...] [types=NAME,...]. Without the file it
    listens on the loopback address only.
    """
    settings = Settings.load()
    set_up_logging(settings, log_format, log_level)
    options = GatewayOptions(
        queues=tuple(queue) if queue else settings.queues,
        host=host,
        port=port,
        token_file=token_file,
        tls=TlsFiles.given(tls_cert, tls_key),
        max_polls=max_polls,
        max_body_bytes=max_body,
        types=schemas_of(load_types(imports or ()), settings),
        grace=parse_duration(grace, "--grace"),
    )
    options.validate(settings)
    collect_rarely()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(options, settings))


async def _run(options: GatewayOptions, settings: Settings) -> None:
    async with shutdown_signals(at_the_latest=options.grace + _LONGEST_STOP) as shutdown:
        await serve(options, settings, shutdown.requested)
