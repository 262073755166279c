"""The pages' routes. They are rendered here, work without JavaScript, and refresh themselves."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from temporalio.client import Client
from temporalio.service import RPCError

from delegator import connect
from examples.pages import Pages
from examples.payments.reporting import data
from examples.service import http_server, setting

_NOTES: Final = {
    "202": "Done: the payment goes on with your decision.",
    "200": "Done.",
    "404": "There is no such payment.",
    "409": "Too late: its outcome is decided.",
    "503": "The payments are not available now. Try again.",
}


class Reporting:
    """The list, the page of a payment, and what their buttons do: they ask the API, as any other client."""

    def __init__(self, client: Client, session: aiohttp.ClientSession) -> None:
        self._client, self._session = client, session
        self._api = setting("PAYMENTS_API_URL")
        self._control = setting("PAYMENTS_CONTROL_URL")  # of the mock provider
        self._serve = setting("PAYMENTS_SERVE_URL", "") or None
        self._pages = Pages(Path(__file__).with_name("templates"), secrets.token_urlsafe())
        self._pages.templates.filters["money"] = lambda amount: f"{amount / 100:,.2f}"

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(client_max_size=16 * 1024)
        application.router.add_get("/", self._list)
        application.router.add_get("/payments/{id:[0-9a-f]{32}}", self._payment)
        application.router.add_post("/payments/{id:[0-9a-f]{32}}/{action:cancel|review|job}", self._act)
        application.router.add_post("/provider", self._switch)
        return application

    async def _list(self, request: web.Request) -> web.Response:
        status = request.query.get("status")
        try:
            page = bytes.fromhex(request.query.get("page", ""))
            listing = await data.payments(self._client, status, page or None)
        except ValueError:
            raise web.HTTPBadRequest(text="There is no such page.") from None
        except RPCError:
            listing = None
        return self._pages.page(
            request,
            "list.html",
            status=200 if listing else 503,
            listing=listing,
            chosen=status,
            statuses=data.STATUSES,
            queues=await data.queues(self._session, self._serve),
            provider=((await self._ask("GET", self._control))[1] or {}).get("mode"),
        )

    async def _payment(self, request: web.Request) -> web.Response:
        payment_id = request.match_info["id"]
        status, state = await self._ask("GET", f"{self._api}/payments/{payment_id}")
        if status != 200:
            return self._pages.page(request, "error.html", status=status, words=_NOTES.get(str(status), "No answer."))
        note = _NOTES.get(request.query.get("answer", ""))
        books = await data.ledger(payment_id)
        return self._pages.page(request, "payment.html", payment_id=payment_id, state=state, note=note, **books)

    async def _act(self, request: web.Request) -> web.Response:
        payment_id, action, form = (
            request.match_info["id"],
            request.match_info["action"],
            await self._pages.form(request),
        )
        how = str(form.get("how", ""))
        path, body = f"/payments/{payment_id}/cancel", None
        if action == "review":
            path, body = f"/fraud/{payment_id}", {"verdict": how, "reviewer": "the page"}
        elif action == "job":
            job = str(form.get("job", ""))
            if how not in ("retry", "resolve") or not job.isidentifier():
                raise web.HTTPBadRequest(text="There is no such job.")
            path = f"/payments/{payment_id}/jobs/{job}/{how}"
        status, _ = await self._ask("POST", self._api + path, json=body)
        raise web.HTTPSeeOther(f"/payments/{payment_id}?answer={status}")

    async def _switch(self, request: web.Request) -> web.Response:
        mode = "up" if (await self._pages.form(request)).get("how") == "up" else "error"
        await self._session.put(self._control, json={"mode": mode})
        raise web.HTTPSeeOther("/")

    async def _ask(self, method: str, url: str, **options: Any) -> tuple[int, Any]:
        try:
            async with self._session.request(method, url, **options) as response:
                return response.status, await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return 503, None


@asynccontextmanager
async def reporting(port: int) -> AsyncIterator[None]:
    """Run the pages."""
    client = await connect(lazy=True)
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        http_server(Reporting(client, session).application(), port),
    ):
        yield
