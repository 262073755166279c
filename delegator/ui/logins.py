"""Logging in and out."""

from __future__ import annotations

import logging

from aiohttp import web

from delegator.ui.changes import is_own_path
from delegator.ui.metrics import UiMetrics
from delegator.ui.options import UiOptions
from delegator.ui.rendering import Renderer
from delegator.ui.sessions import COOKIE, SESSION_SECONDS, Attempts, Sessions

_log = logging.getLogger(__name__)


class Logins:
    """The form that asks for the token."""

    def __init__(self, options: UiOptions, sessions: Sessions, renderer: Renderer, metrics: UiMetrics) -> None:
        """Prepare the form.

        Args:
            options: of the page.
            sessions: make the cookie.
            renderer: draws the form.
            metrics: count what is refused.
        """
        self._options = options
        self._sessions = sessions
        self._renderer = renderer
        self._metrics = metrics
        self._attempts = Attempts()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/login", self._ask), web.post("/login", self._log_in), web.post("/logout", self._log_out)]

    async def _ask(self, request: web.Request) -> web.Response:
        return self._form(request.query.get("next", "/"))

    async def _log_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        following = str(form.get("next", "/"))
        if self._attempts.are_exhausted():
            return self._form(following, "Too many wrong tokens. Try again in a minute.", 429)
        cookie = self._sessions.log_in(str(form.get("token", "")).strip(), str(form.get("name", "")))
        if cookie is None:
            self._attempts.failed()
            self._metrics.refused.labels("token").inc()
            _log.warning("ui_login_refused", extra={"peer": request.remote})
            return self._form(following, "That is not the token.", 403)
        response = web.Response(status=303, headers={"Location": following if is_own_path(following) else "/"})
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Lax",
            secure=self._options.tls is not None,
        )
        return response

    async def _log_out(self, request: web.Request) -> web.Response:
        response = web.Response(status=303, headers={"Location": "/login"})
        response.del_cookie(COOKIE)
        return response

    def _form(self, following: str, problem: str | None = None, status: int = 200) -> web.Response:
        return self._renderer.page("login.html", status=status, following=following, problem=problem)
