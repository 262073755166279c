"""`delegator codec-server` and `delegator encryption-key`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
import uvloop
from temporalio.converter import PayloadCodec

from delegator.cli.options import (
    DEFAULT_HOST,
    NUMBER,
    LogFormatOption,
    LogLevelOption,
    TlsCertOption,
    TlsKeyOption,
    TokenFileOption,
    check_port,
    set_up_logging,
)
from delegator.codec_server.service import CodecServerOptions, serve_codec
from delegator.config import Settings
from delegator.runtime.logs import LogFormat, LogLevel
from delegator.runtime.server_tls import TlsFiles
from delegator.runtime.temporal_client import load_data_converter
from delegator.runtime.tokens import Tokens


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("codec-server")(codec_server)
    app.command("encryption-key")(encryption_key)


def codec_server(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[
        int,
        typer.Option(help="Port of /encode, /decode, /metrics, /livez and /readyz; 0: any free one.", **NUMBER),
    ] = 8081,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="Origin of pages that may ask, such as http://127.0.0.1:8233; may be repeated."
        ),
    ] = None,
    token_file: TokenFileOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Decode payloads for Temporal's UI and CLI, with the codec of DELEGATOR_DATA_CONVERTER.

    Outcomes of jobs, which travel many in one payload, are shown as JSON, with or without a codec.

    A request needs the token DELEGATOR_CODEC_TOKEN, or one of --token-file instead, as bearer token or as the password
    that a browser asks for. Without either, it listens on the loopback address only.
    """
    settings = Settings.load()
    set_up_logging(settings, log_format, log_level)
    check_port(port)
    token = settings.codec_token if token_file is None else None
    options = CodecServerOptions(
        codec=_codec(settings),
        tokens=Tokens([] if token is None else [token.get_secret_value()], file=token_file),
        origins=tuple(origin or ()),
        host=host,
        port=port,
        tls=TlsFiles.given(tls_cert, tls_key),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_codec(options))


def encryption_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, such as 2026-12.")],
) -> None:
    """Print a new random key for DELEGATOR_ENCRYPTION_KEYS, as ID:BASE64."""
    from delegator.encryption import EncryptionKey

    typer.echo(EncryptionKey.new(key_id).written)


def _codec(settings: Settings) -> PayloadCodec | None:
    """Return the codec of the data converter; without that setting, the one of the encryption keys, if there are."""
    if settings.data_converter is not None:
        return load_data_converter(settings.data_converter).payload_codec
    if settings.encryption_keys is None and settings.encryption_keys_file is None:
        return None
    from delegator.encryption import EncryptionCodec, EncryptionKeys

    return EncryptionCodec(EncryptionKeys.load(settings))
