"""The HTTP surface: `POST /encode` and `POST /decode`, for programs and for the pages of allowed origins."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from prometheus_client import CollectorRegistry, Counter
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

from delegator.errors import UnreadablePayloadError
from delegator.runtime.health import LocalHealth, add_health_routes
from delegator.runtime.liveness import Liveness
from delegator.runtime.tokens import Tokens, token_of

_MAX_BODY: Final = 32 * 1024 * 1024
"""Temporal's largest message has 4 MiB, and Base64 makes it larger."""
_ALLOWED_HEADERS: Final = "Authorization, Content-Type, X-Namespace"
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="delegator codec-server: the password is the token"'}
"""Makes a browser ask a person. Bearer is not named: Chromium reads only the first challenge of a header."""

_log = logging.getLogger(__name__)
_Convert = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


class CodecApi:
    """Encodes and decodes payloads on request."""

    def __init__(
        self, codec: PayloadCodec, tokens: Tokens, origins: Sequence[str], registry: CollectorRegistry
    ) -> None:
        """Prepare the answers.

        Args:
            codec: encodes and decodes.
            tokens: what requests must carry.
            origins: of the pages that may ask, such as `http://127.0.0.1:8233` for Temporal's UI.
            registry: where the metrics go.
        """
        self._codec = codec
        self._tokens = tokens
        self._origins = frozenset(origins)
        self._registry = registry
        self._payloads = Counter(
            "delegator_codec_payloads_total",
            "Payloads that the codec server has encoded or decoded",
            ["operation"],
            registry=registry,
        )
        self._refused = Counter(
            "delegator_codec_requests_refused_total",
            "Requests that the codec server has refused: the page's origin is not allowed (origin), a wrong token "
            "(token), a malformed body (malformed), payloads that the codec can't read (unreadable)",
            ["reason"],
            registry=registry,
        )

    def application(self) -> web.Application:
        """Build the aiohttp application."""
        app = web.Application(client_max_size=_MAX_BODY)
        add_health_routes(app.router, LocalHealth(self._registry, Liveness(), {}))
        app.router.add_get("/", self._greet)
        for name, convert in (("encode", self._codec.encode), ("decode", self._codec.decode)):
            for path in (f"/{name}", f"/{{namespace}}/{name}"):
                app.router.add_post(path, self._converting(name, convert))
                app.router.add_options(path, self._preflight)
        return app

    async def _greet(self, request: web.Request) -> web.StreamResponse:
        """Let a person give the token to the browser, which sends it with the requests of Temporal's UI afterwards."""
        return self._refusal(request) or web.Response(text="This is a codec server for Temporal's UI and CLI.\n")

    async def _preflight(self, request: web.Request) -> web.StreamResponse:
        """Tell a browser what a page may ask. No token comes with this question."""
        if (refusal := self._refuse_origin(request)) is not None:
            return refusal
        headers = {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": "600",
        }
        return self._for_page(request, web.Response(status=204, headers=headers))

    def _converting(self, name: str, convert: _Convert) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = self._refusal(request) or await self._convert(request, name, convert)
            return self._for_page(request, response)

        return answer

    async def _convert(self, request: web.Request, name: str, convert: _Convert) -> web.Response:
        try:
            given = Parse(await request.read(), Payloads(), ignore_unknown_fields=True)
        except (ParseError, UnicodeDecodeError, RecursionError):  # its text may quote the body
            return self._refuse("malformed", 400, "the body is no JSON of Payloads")
        try:
            converted = await convert(given.payloads)
        except UnreadablePayloadError as error:
            # Logged, because Temporal's CLI does not show the answer: it asks until its own time is over.
            _log.warning("payload_unreadable", extra={"operation": name, "reason": str(error)})
            return self._refuse("unreadable", 400, str(error))
        except Exception as error:  # a codec may raise any error, and its text may quote a payload
            _log.error("codec_failed", extra={"operation": name, "error": type(error).__name__})
            return self._refuse("unreadable", 400, f"the payload codec raised {type(error).__name__}")
        self._payloads.labels(name).inc(len(given.payloads))
        body = MessageToJson(Payloads(payloads=converted), indent=None)
        return web.Response(text=body, content_type="application/json", headers={"Cache-Control": "no-store"})

    def _refusal(self, request: web.Request) -> web.Response | None:
        if (refusal := self._refuse_origin(request)) is not None:
            return refusal
        if self._tokens.required:
            given = token_of(request.headers.get("Authorization", ""))
            if given is None or not self._tokens.accept(given):
                return self._refuse("token", 401, "the token is missing or wrong", _CHALLENGE)
        return None

    def _refuse_origin(self, request: web.Request) -> web.Response | None:
        """Refuse a page of another origin before anything is done, so that it can't even try tokens."""
        origin = request.headers.get("Origin")
        if origin is None or origin in self._origins:
            return None
        return self._refuse("origin", 403, "pages of this origin may not ask: see --origin of delegator codec-server")

    def _refuse(self, reason: str, status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
        self._refused.labels(reason).inc()
        return web.Response(status=status, text=f"{text}\n", headers=headers)

    def _for_page(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Let the page of an allowed origin read the answer."""
        origin = request.headers.get("Origin")
        if origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Vary"] = "Origin"
        return response
