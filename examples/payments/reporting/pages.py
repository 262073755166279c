"""The pages' routes. They are rendered here, work without JavaScript, and refresh themselves."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Final

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment, PackageLoader
from temporalio.client import Client
from temporalio.service import RPCError

from examples.payments.reporting import data

_COOKIE: Final = "visitor"
_NOTES: Final = {
    202: "Done: the payment goes on with your decision.",
    200: "Done.",
    404: "There is no such payment.",
    409: "Too late: its outcome is decided.",
    503: "The payments are not available now. Try again.",
}


class Pages:
    """The list, the page of a payment, and what their buttons do: they ask the API, as any other client."""

    def __init__(
        self, client: Client, session: aiohttp.ClientSession, api: str, control: str, serve: str | None
    ) -> None:
        """Show payments.

        Args:
            client: Temporal's client, for lists.
            session: for HTTP.
            api: base URL of the payments' API.
            control: URL of the mock provider's control API.
            serve: base URL of `delegator serve`; None: not known.
        """
        self._client, self._session = client, session
        self._api, self._control, self._serve = api, control, serve
        self._secret = secrets.token_bytes(32)
        self._templates = Environment(
            loader=PackageLoader("examples.payments.reporting"), autoescape=True, enable_async=True
        )
        self._templates.filters["money"] = lambda amount: f"{amount / 100:,.2f}"

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(middlewares=[self._guarded], client_max_size=16 * 1024)
        application.add_routes(
            [
                web.get("/", self._list),
                web.get("/payments/{id:[0-9a-f]{32}}", self._payment),
                web.post("/payments/{id:[0-9a-f]{32}}/{action:cancel|review|job}", self._act),
                web.post("/provider", self._switch),
            ]
        )
        return application

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse forms that were not made for this visitor, and keep pages out of frames and from scripts."""
        visitor = request.cookies.get(_COOKIE) or secrets.token_urlsafe(16)
        request["csrf"] = hmac.new(self._secret, visitor.encode(), hashlib.sha256).hexdigest()
        if request.method == "POST":
            given = str((await request.post()).get("csrf", ""))
            if not hmac.compare_digest(given.encode(), request["csrf"].encode()):
                raise web.HTTPForbidden(text="The form has expired, or another site sent it. Load the page again.")
        response = await handler(request)
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        response.headers["Referrer-Policy"] = "no-referrer"
        response.set_cookie(_COOKIE, visitor, httponly=True, samesite="Strict")
        return response

    async def _list(self, request: web.Request) -> web.Response:
        status = request.query.get("status")
        try:
            listing = await data.payments(self._client, status, request.query.get("page"))
        except RPCError:
            listing = None
        return await self._page(
            "list.html",
            request,
            status=200 if listing else 503,
            listing=listing,
            chosen=status,
            statuses=data.STATUSES,
            queues=await data.queues(self._session, self._serve),
            provider=await self._provider_mode(),
        )

    async def _payment(self, request: web.Request) -> web.Response:
        payment_id = request.match_info["id"]
        status, state = await self._ask("GET", f"/payments/{payment_id}")
        if status != 200:
            return await self._page("error.html", request, status=status, words=_NOTES.get(status, "No answer."))
        entries, messages, late = await data.ledger(payment_id)
        note = request.query.get("answer", "")
        return await self._page(
            "payment.html",
            request,
            payment_id=payment_id,
            state=state,
            entries=entries,
            messages=messages,
            late=late,
            note=_NOTES.get(int(note)) if note.isdecimal() else None,
        )

    async def _act(self, request: web.Request) -> web.Response:
        payment_id, action, form = request.match_info["id"], request.match_info["action"], await request.post()
        how = str(form.get("how", ""))
        if action == "cancel":
            status, _ = await self._ask("POST", f"/payments/{payment_id}/cancel")
        elif action == "review":
            review = {"verdict": how, "reviewer": "the page"}
            status, _ = await self._ask("POST", f"/fraud/{payment_id}", json=review)
        else:
            job = str(form.get("job", ""))
            if how not in ("retry", "resolve") or not job.isidentifier():
                raise web.HTTPBadRequest(text="There is no such job.")
            status, _ = await self._ask("POST", f"/payments/{payment_id}/jobs/{job}/{how}")
        raise web.HTTPSeeOther(f"/payments/{payment_id}?answer={status}")

    async def _switch(self, request: web.Request) -> web.Response:
        mode = "up" if (await request.post()).get("how") == "up" else "error"
        await self._session.put(self._control, json={"mode": mode})
        raise web.HTTPSeeOther("/")

    async def _provider_mode(self) -> str | None:
        try:
            async with self._session.get(self._control) as response:
                mode: str = (await response.json())["mode"]
                return mode
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        try:
            async with self._session.request(method, f"{self._api}{path}", **options) as response:
                return response.status, await response.json()
        except (aiohttp.ClientError, TimeoutError):
            return 503, None

    async def _page(self, template: str, request: web.Request, *, status: int = 200, **values: Any) -> web.Response:
        html = await self._templates.get_template(template).render_async(csrf=request["csrf"], **values)
        return web.Response(text=html, status=status, content_type="text/html")
