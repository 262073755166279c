"""`python -m examples.renewals.billing`: a billing service that stands for the outside world."""

from __future__ import annotations

import argparse

from aiohttp import web

from examples.database import fetch_all

_failures = web.AppKey("failures", list[int])


async def payments_of(request: web.Request) -> web.Response:
    """`GET /SUBSCRIPTION`: its payments. While failures are ordered, 503."""
    if request.app[_failures]:
        request.app[_failures].pop()
        raise web.HTTPServiceUnavailable
    rows = await fetch_all("SELECT id, days FROM renewals.payments WHERE subscription = %s", request.match_info["id"])
    return web.json_response([{"id": payment, "days": days} for payment, days in rows])


async def fail(request: web.Request) -> web.Response:
    """`POST /failures/COUNT`: fail so many requests."""
    request.app[_failures].extend(range(int(request.match_info["count"])))
    return web.Response()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.renewals.billing", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    app = web.Application()
    app[_failures] = []
    app.add_routes([web.get("/{id}", payments_of), web.post("/failures/{count}", fail)])
    web.run_app(app, host="127.0.0.1", port=parser.parse_args().port, print=None)
