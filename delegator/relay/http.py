"""The HTTP surface: Sequin's pull API, health and metrics."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from delegator.relay.message import answer
from delegator.relay.params import (
    BadRequestError,
    accepts_json,
    check_ack_id,
    parse_ack_ids,
    parse_batch_size,
    parse_wait_for,
)
from delegator.relay.state import RelayState
from delegator.relay.store import Stream

_PREFIXES: Final = frozenset({"sequin_streams", "http_pull_consumers"})
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {"receive": ("GET", "POST"), "ack": ("POST",), "nack": ("POST",)}
_MAX_BODY: Final = 8_000_000
_SUCCESS: Final = b'{"success":true}'

log = logging.getLogger(__name__)


class PullApi:
    """Answers requests from the store."""

    def __init__(
        self,
        streams: Mapping[str, Stream],
        token: str | None,
        registry: CollectorRegistry,
        state: RelayState,
    ) -> None:
        """Prepare the answers.

        Args:
            streams: by consumer name.
            token: what requests must carry; None: anything goes.
            registry: what `/metrics` shows.
            state: what `/health` shows.
        """
        self._streams = streams
        self._token = token.encode() if token is not None else None
        self._registry = registry
        self._state = state

    def application(self) -> web.Application:
        """Build the aiohttp application."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_get("/health", self._show_health)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        return app

    async def _show_health(self, _request: web.Request) -> web.Response:
        return _json(orjson.dumps(self._state.health()))

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except BadRequestError as error:
            return _error(400, str(error))
        except web.HTTPException as error:
            return _error(error.status, error.reason)
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            log.exception("relay_request_failed")
            return _error(500, "Internal Server Error")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if len(parts) != 4 or parts[0] != "api" or parts[1] not in _PREFIXES:
            return _error(404, "Not Found")
        _, _, name, action = parts
        if request.method not in _METHODS.get(action, ()):
            return _error(404, "Not Found")
        headers = request.headers
        if not accepts_json(headers.get("Accept")):
            return _error(406, "Not Acceptable")
        if self._token is not None and (problem := self._unauthorized(request)):
            return _error(401, problem)
        if request.method == "POST" and "application/json" not in headers.get("Content-Type", ""):
            return _error(400, "Content-Type: application/json is required")
        params = await _params(request)
        stream = self._streams.get(name)
        if stream is None:
            return _error(404, "Not found: No `consumer` found matching the provided ID or name")
        if action == "receive":
            return await self._receive(request, stream, params)
        ack_ids = parse_ack_ids(params)
        found = stream.find(ack_ids)
        if None in found:
            ack_ids = [ack_id.lower() for ack_id in ack_ids]
            for ack_id in ack_ids:
                check_ack_id(ack_id)
            found = stream.find(ack_ids)
        if action == "ack":
            stream.ack(found)
        else:
            stream.nack(found)
        return _json(_SUCCESS)

    async def _receive(self, request: web.Request, stream: Stream, params: Mapping[str, object]) -> web.StreamResponse:
        limit = parse_batch_size(params)
        wait = parse_wait_for(params)
        state = self._state.streams[stream.name]
        if not state.started:
            return _error(500, "The message store is not up yet")
        # Cut off from the WAL there is nothing to wait for: a long wait in vain would say that the stream is empty.
        batch = await stream.receive(limit, wait if state.connected else 0.0)
        # An ack for an earlier delivery may have come between the hand-over and now: then it is left out.
        response = _json(answer(batch))
        if not batch:
            return response
        # Written here and not by aiohttp after we return: what a broken connection did not take is free again.
        written = False
        try:
            await response.prepare(request)
            await response.write_eof()
            written = request.transport is not None and not request.transport.is_closing()
        finally:
            if not written:
                stream.give_back(batch)
        return response

    def _unauthorized(self, request: web.Request) -> str | None:
        given = request.headers.getall("Authorization", [])
        if not given:
            return "Please provide a valid API token in the Authorization header."
        if len(given) > 1:
            return "Please provide exactly one Authorization header in your request."
        scheme, _, token = given[0].partition(" ")
        if scheme != "Bearer":
            return (
                "Please provide a valid API token in the Authorization header. Ensure your Authorization value is "
                'prefixed with "Bearer".'
            )
        if not hmac.compare_digest(token.encode(errors="surrogateescape"), self._token or b""):
            return "The API token you provided is invalid or has expired."
        return None


async def _params(request: web.Request) -> dict[str, object]:
    params: dict[str, object] = dict(request.query) if request.query_string else {}
    if request.method == "POST" and (body := await request.read()):
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise BadRequestError("The request's body is not valid JSON") from None
        if isinstance(parsed, dict):
            params.update(parsed)
    return params


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def _error(status: int, summary: str) -> web.Response:
    return _json(orjson.dumps({"summary": summary}), status)
