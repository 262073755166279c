"""The HTTP surface: Sequin's pull API, beside `/health` and what every process serves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

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
from delegator.runtime.health import Health, add_health_routes
from delegator.runtime.tokens import Tokens

_PREFIXES: Final = frozenset({"sequin_streams", "http_pull_consumers"})
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {"receive": ("GET", "POST"), "ack": ("POST",), "nack": ("POST",)}
_MAX_BODY: Final = 8_000_000
_STANDBY: Final = "This relay does not stream; ask the next one of DELEGATOR_STREAM_URL"
_SUCCESS: Final = b'{"success":true}'

_log = logging.getLogger(__name__)


class PullApi:
    """Answers requests from the store."""

    def __init__(
        self,
        streams: Mapping[str, Stream],
        tokens: Tokens,
        health: Health,
        state: RelayState,
    ) -> None:
        """Prepare the answers.

        Args:
            streams: by the name that requests use.
            tokens: what requests to the pull API must carry.
            health: what `/metrics`, `/livez` and `/readyz` show.
            state: what `/health` shows.
        """
        self._streams = streams
        self._tokens = tokens
        self._health = health
        self._state = state

    def application(self) -> web.Application:
        """Build the aiohttp application."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_get("/health", self._show_health)
        add_health_routes(app.router, self._health)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        return app

    async def _show_health(self, _request: web.Request) -> web.Response:
        return _json(orjson.dumps(self._state.health()), 200 if self._state.connected else 503)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except BadRequestError as error:
            return _error(400, str(error))
        except web.HTTPException as error:
            return _error(error.status, error.reason)
        except (ConnectionError, TimeoutError, web.RequestPayloadError):
            raise
        except Exception:
            _log.exception("relay_request_failed")
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
        if self._tokens.required and (problem := self._unauthorized(request)):
            return _error(401, problem)
        if request.method == "POST" and "application/json" not in headers.get("Content-Type", ""):
            return _error(400, "Content-Type: application/json is required")
        params = await _params(request)
        stream = self._streams.get(name)
        if stream is None:
            return _error(404, "Not found: No `consumer` found matching the provided ID or name")
        if self._state.standby:
            return _error(503, _STANDBY)
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
        # A worker takes a long wait without a message as a sign that the stream is empty. So don't wait while the WAL
        # is not read.
        batch = await stream.receive(limit, wait if state.connected else 0.0)
        # A message may have been acked since, for an earlier delivery: then the answer leaves it out.
        if not batch and (self._state.standby or self._state.deposed):
            return _error(503, _STANDBY)
        response = _json(answer(batch))
        if not batch:
            return response
        # The answer is written here, and not by aiohttp after the return, to learn whether the connection took it.
        # Messages that it did not take are visible again at once.
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
        if not self._tokens.accept(token):
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
