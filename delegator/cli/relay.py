"""`delegator relay`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
import uvloop
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from delegator.cli.options import (
    DEFAULT_HOST,
    NUMBER,
    DatabaseOption,
    HostOption,
    LogFormatOption,
    LogLevelOption,
    TlsCertOption,
    TlsKeyOption,
    TokenFileOption,
    check_port,
    set_up_logging,
)
from delegator.config import Settings
from delegator.errors import ConfigurationError
from delegator.relay.options import RelayOptions
from delegator.relay.service import serve
from delegator.runtime.descriptors import raise_descriptor_limit
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.memory import collect_rarely
from delegator.runtime.server_tls import TlsFiles

_DESCRIPTORS = 65_536
"""Enough for every worker's connections."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("relay")(relay)


def relay(
    host: HostOption = DEFAULT_HOST,
    port: Annotated[
        int,
        typer.Option(help="Port of the pull API, /health, /metrics, /livez and /readyz; 0: any free one.", **NUMBER),
    ] = 7376,
    database_url: DatabaseOption = None,
    token_file: TokenFileOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Queue to serve; may be repeated. Default: DELEGATOR_QUEUES.", show_default=False
        ),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Stream the queues over Sequin's pull API, instead of Sequin.

    Requests need the token DELEGATOR_STREAM_TOKEN, or one of --token-file instead. Without either, it listens on the
    loopback address only.
    """
    _refuse_visible_password(database_url)
    settings = Settings.load(
        database_url=database_url,
        queues=tuple(queue) if queue else None,
    )
    set_up_logging(settings, log_format, log_level)
    check_port(port)
    options = RelayOptions.from_settings(
        settings, host=host, port=port, token_file=token_file, tls=TlsFiles.given(tls_cert, tls_key)
    )
    collect_rarely()
    raise_descriptor_limit(_DESCRIPTORS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options))


def _refuse_visible_password(database_url: str | None) -> None:
    """Refuse a password on the command line of a process that runs for long."""
    if database_url is None:
        return
    try:
        has_password = "password" in conninfo_to_dict(database_url)
    except ProgrammingError:
        return  # refused later, as from the variable
    if has_password:
        raise ConfigurationError(
            "--database-url holds a password, and every user of this machine sees it in `ps`: put the URL into "
            "DELEGATOR_DATABASE_URL, or the password into the file of PGPASSFILE"
        )
