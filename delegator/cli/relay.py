"""`delegator relay`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from delegator.cli.options import (
    DEFAULT_HOST,
    NUMBER,
    HostOption,
    LogFormatOption,
    LogLevelOption,
    check_port,
    set_up_logging,
)
from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.relay.options import RelayOptions
from delegator.relay.service import serve
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.memory import collect_rarely


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("relay")(relay)


def relay(
    host: HostOption = DEFAULT_HOST,
    port: Annotated[
        int,
        typer.Option(help="Port of the pull API, /health, /metrics, /livez and /readyz; 0: any free one.", **NUMBER),
    ] = 7376,
    database_url: Annotated[str | None, typer.Option(help="Default: DELEGATOR_DATABASE_URL.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File that holds the bearer token of requests. Default: DELEGATOR_STREAM_TOKEN.", show_default=False
        ),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(help="Queue to serve; may be repeated. Default: DELEGATOR_QUEUES.", show_default=False),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Stream the queues over Sequin's pull API, instead of Sequin."""
    settings = Settings.load(
        database_url=database_url,
        stream_token=_token(token_file),
        queues=tuple(queue) if queue else None,
    )
    set_up_logging(settings, log_format, log_level)
    check_port(port)
    options = RelayOptions.from_settings(settings, host=host, port=port)
    collect_rarely()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options))


def _token(file: Path | None) -> str | None:
    """Read the token. It is no option of its own, because every user of the machine sees the options in `ps`."""
    if file is None:
        return None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--token-file {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if not token:
        raise ConfigurationError(f"--token-file {file} is empty")
    return token
