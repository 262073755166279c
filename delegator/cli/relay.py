"""`delegator relay`."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated

import typer
import uvloop

from delegator.config import Settings
from delegator.relay.embed import serve
from delegator.relay.options import RelayOptions
from delegator.runtime.memory import collect_rarely


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("relay")(relay)


def relay(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 7376,
    database_url: Annotated[str | None, typer.Option(help="Database of the queue tables.", show_default=False)] = None,
    token: Annotated[
        str | None, typer.Option(help="Bearer token that requests must carry.", show_default=False)
    ] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Queue to serve; repeat it.", show_default=False)] = None,
) -> None:
    """Stream the queues over Sequin's pull API: the stream for one machine, tests and CI."""
    settings = Settings.load(database_url=database_url, stream_token=token, queues=tuple(queue) if queue else None)
    options = RelayOptions.from_settings(settings, host=host, port=port)
    collect_rarely()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(options))


async def _until_signalled(options: RelayOptions) -> None:
    stop = asyncio.Event()

    def signalled(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled, number)
    await serve(options, stop)
