"""What every request passes: who asks, whether a form is ours, and the headers that keep browsers safe."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from delegator.errors import ConfigurationError, DelegatorError, DependencyError, SchemaError
from delegator.runtime.logs import place_of
from delegator.runtime.server_tls import is_loopback
from delegator.runtime.tokens import token_of
from delegator.ui.cells import url
from delegator.ui.metrics import UiMetrics
from delegator.ui.options import UiOptions
from delegator.ui.rendering import Renderer, wants_json
from delegator.ui.sessions import COOKIE, Session, Sessions

_OPEN: Final = frozenset({"/login", "/livez", "/readyz", "/metrics"})
_HEADERS: Final[Mapping[str, str]] = {
    # No script, no frame, no other site.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With `no-referrer` browsers would send forms with the origin `null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_log = logging.getLogger(__name__)


class Guard:
    """Lets a request through, or says why not."""

    def __init__(self, options: UiOptions, sessions: Sessions, renderer: Renderer, metrics: UiMetrics) -> None:
        """Prepare the guard.

        Args:
            options: of the page.
            sessions: who has logged in.
            renderer: draws errors.
            metrics: count requests.
        """
        self._options = options
        self._sessions = sessions
        self._renderer = renderer
        self._metrics = metrics

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request."""
        response = await self._answer(request, handler)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        resource = request.match_info.route.resource
        route = "other" if resource is None else resource.canonical
        self._metrics.requests.labels(route, str(response.status)).inc()
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            refusal = await self._refusal(request)
            return refusal if refusal is not None else await handler(request)
        except web.HTTPRedirection as redirection:
            return web.Response(status=redirection.status, headers={hdrs.LOCATION: redirection.headers[hdrs.LOCATION]})
        except web.HTTPException as error:
            return self._renderer.error(request, error.status, error.text or error.reason)
        except (DependencyError, SchemaError) as error:
            return self._renderer.error(request, 503, str(error))
        except ConfigurationError as error:
            return self._renderer.error(request, 400, str(error))
        except DelegatorError as error:
            return self._renderer.error(request, 500, str(error))
        except Exception as error:  # its text may quote a payload
            _log.error("ui_failed", extra={"error": type(error).__name__, "at": place_of(error)})
            return self._renderer.error(request, 500, f"The page failed: {type(error).__name__}. Its log says where.")

    async def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        if any("\0" in text for pair in request.query.items() for text in pair):
            raise web.HTTPBadRequest(text="The address holds a character that no name has.")
        if not self._options.tokens.required:
            # Another site could have its name lead to this machine, and read the page.
            if not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
                self._refused("host")
                raise web.HTTPMisdirectedRequest(text="Without a token the page answers to localhost only.")
            if request.method == hdrs.METH_POST:
                self._refused("read_only")
                raise web.HTTPForbidden(text="The page only reads: set DELEGATOR_UI_TOKEN to change things.")
            return None
        if request.method == hdrs.METH_POST:
            self._require_same_origin(request)
        if request.path in _OPEN or request.path.startswith("/static/"):
            return None
        bearer = token_of(request.headers.get(hdrs.AUTHORIZATION, ""))
        if bearer is not None and request.method != hdrs.METH_POST and self._options.tokens.accept(bearer):
            return None
        session = self._sessions.read(request.cookies.get(COOKIE))
        if session is None:
            self._refused("token")
            if wants_json(request):
                raise web.HTTPUnauthorized(text="The token is missing or wrong: Authorization: Bearer TOKEN")
            raise web.HTTPSeeOther(url("/login", next=request.path_qs if request.method == hdrs.METH_GET else "/"))
        if request.method == hdrs.METH_POST:
            await self._require_form(request, session)
        return None

    def _require_same_origin(self, request: web.Request) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if (origin is not None and urlsplit(origin).netloc != request.host) or site not in ("same-origin", "none"):
            self._refused("form")
            raise web.HTTPForbidden(text="Another site sent this form.")

    async def _require_form(self, request: web.Request, session: Session) -> None:
        form = await request.post()
        if not hmac.compare_digest(str(form.get("proof", "")).encode(), session.proof.encode()):
            self._refused("form")
            raise web.HTTPForbidden(text="The form was made for another login. Load its page again.")
        if request.path != "/logout" and not self._options.may_change:
            self._refused("read_only")
            raise web.HTTPForbidden(text="The page was started with --read-only.")
        if any("\0" in str(text) for text in form.values()):
            raise web.HTTPBadRequest(text="The form holds a character that no name has.")

    def _refused(self, reason: str) -> None:
        self._metrics.refused.labels(reason).inc()
