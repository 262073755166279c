"""x"""

from contextlib import asynccontextmanager

from aiohttp import web

from examples.payments.service import http_server, run_service


@asynccontextmanager
async def r(port):
    async with http_server(web.Application(), port):
        yield


if __name__ == "__main__":
    run_service(r)
