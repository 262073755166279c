"""`delegator ui`: the operator's page."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Annotated

import typer
import uvloop

from delegator.cli.options import (
    DEFAULT_HOST,
    NUMBER,
    DatabaseOption,
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
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.modules import add_current_directory
from delegator.runtime.server_tls import TlsFiles
from delegator.runtime.temporal_client import load_data_converter
from delegator.runtime.tokens import Tokens

USUAL_PORT = 8090
"""The port of the page, unless another is given."""
INSTALL = "pip install 'temporal-delegator[ui]'"
"""What installs the page's dependency."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="ui")(ui_command)


def is_installed() -> bool:
    """Return whether what the page needs is installed."""
    return importlib.util.find_spec("jinja2") is not None


def ui_command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[
        int,
        typer.Option(help="Port of the page, its /api, /metrics, /livez and /readyz; 0: any free one.", **NUMBER),
    ] = USUAL_PORT,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Change nothing, even for those who have logged in.")
    ] = False,
    codec_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Show payloads, decoded by this `delegator codec-server`. Default: no payload is shown.",
            show_default=False,
        ),
    ] = None,
    token_file: TokenFileOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
    database_url: DatabaseOption = None,
) -> None:
    """Serve the operator's page: what waits, runs and fails; pause, retry, cancel, replay; and the same as JSON.

    People log in with the token DELEGATOR_UI_TOKEN, or one of --token-file instead. Without either the page only
    reads, and listens on the loopback address only.
    """
    if not is_installed():
        raise ConfigurationError(f"`delegator ui` needs Jinja2: {INSTALL}")
    from delegator.ui.options import UiOptions
    from delegator.ui.service import serve_ui

    settings = Settings.load(database_url=database_url)
    set_up_logging(settings, log_format, log_level)
    check_port(port)
    add_current_directory()
    token = settings.ui_token if token_file is None else None
    options = UiOptions(
        tokens=Tokens([] if token is None else [token.get_secret_value()], file=token_file),
        converter=load_data_converter(settings.data_converter),
        read_only=read_only,
        codec_url=codec_url,
        codec_token=None if settings.codec_token is None else settings.codec_token.get_secret_value(),
        host=host,
        port=port,
        tls=TlsFiles.given(tls_cert, tls_key),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_ui(options, settings))
