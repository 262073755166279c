"""Runs the codec server."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from temporalio.converter import PayloadCodec

from delegator.codec_server.api import CodecApi
from delegator.codec_server.frames import FrameCodec
from delegator.errors import ConfigurationError
from delegator.runtime.connections import ServingLimits
from delegator.runtime.server_tls import ServerTls, TlsFiles, base_url, cannot_listen, refuse_open
from delegator.runtime.serving import listen, serving
from delegator.runtime.shutdown import shutdown_signals
from delegator.runtime.tokens import Tokens

_LIMITS: Final = ServingLimits(connections=100)
"""A browser has six at a time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecServerOptions:
    """Options of a codec server."""

    codec: PayloadCodec | None
    """Encodes and decodes; None: payloads are not encoded, and only the engine's own are made readable."""
    tokens: Tokens
    """What requests must carry."""
    origins: tuple[str, ...] = ()
    """Of the pages that may ask."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8081
    """Port to listen on; 0 takes a free one."""
    tls: TlsFiles | None = None
    """Its certificate; None: it serves plain HTTP."""

    def __post_init__(self) -> None:
        for origin in self.origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or origin != f"{parts.scheme}://{parts.netloc}"
                or not parts.netloc
            ):
                raise ConfigurationError(
                    f"--origin {origin}: write it like https://temporal.example.com, without a path"
                )
        refuse_open(
            self.host,
            has_token=self.tokens.required,
            server="the codec server",
            cure="give --token-file or DELEGATOR_CODEC_TOKEN",
        )


@contextlib.asynccontextmanager
async def running_codec_server(options: CodecServerOptions) -> AsyncIterator[str]:
    """Run a codec server on this event loop, and give its URL; it ends with the context.

    Args:
        options: what to serve.

    Raises:
        ConfigurationError: the address can't be listened on, or the certificate can't be used.
    """
    tls = None if options.tls is None else ServerTls(options.tls)
    api = CodecApi(FrameCodec(options.codec), options.tokens, options.origins, CollectorRegistry())
    try:
        listeners = listen(options.host, options.port)
    except OSError as error:
        raise cannot_listen(error, options.host, options.port) from None
    url = base_url(listeners[0].getsockname()[:2], has_tls=tls is not None)
    context = None if tls is None else tls.context
    async with serving(api.application(), listeners, name="codec-server", limits=_LIMITS, tls=context):
        codec = "none" if options.codec is None else type(options.codec).__name__
        _log.info("codec_server_listening", extra={"codec": codec, "url": url})
        yield url


async def serve_codec(options: CodecServerOptions) -> None:
    """Run a codec server until SIGTERM or SIGINT.

    Args:
        options: what to serve.

    Raises:
        ConfigurationError: as `running_codec_server`.
    """
    async with shutdown_signals() as shutdown, running_codec_server(options):
        await shutdown.requested.wait()
