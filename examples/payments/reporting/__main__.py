"""`python -m examples.payments.reporting`: the pages that people look at, until Ctrl-C."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from delegator import connect
from examples.payments.reporting.pages import Pages
from examples.payments.service import http_server, run_service, setting


@asynccontextmanager
async def reporting(port: int) -> AsyncIterator[None]:
    """Run the pages."""
    client = await connect(lazy=True)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        pages = Pages(
            client,
            session,
            api=setting("PAYMENTS_API_URL"),
            control=setting("PAYMENTS_CONTROL_URL"),
            serve=setting("PAYMENTS_SERVE_URL", "") or None,
        )
        async with http_server(pages.application(), port):
            yield


if __name__ == "__main__":
    run_service(reporting)
