"""The HTTP surface of a gateway: checks requests, and answers errors as RFC 9457 writes them."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import psycopg
from aiohttp import web
from msgspec import UNSET
from psycopg_pool import PoolTimeout

from delegator.contracts.json_schema import TypeSchema
from delegator.errors import DatabaseError
from delegator.gateway import job_tokens, problems, routes
from delegator.gateway.access import EVERYTHING, Scope, ScopedTokens
from delegator.gateway.metrics import GatewayMetrics
from delegator.gateway.openapi import document
from delegator.gateway.problems import ProblemError, come_back
from delegator.gateway.queue import GatewayQueue, Named
from delegator.gateway.routes import Route
from delegator.runtime.health import Health, add_health_routes
from delegator.runtime.tokens import token_of
from delegator.wire.worker_protocol import (
    Answer,
    Answers,
    DeclaredType,
    DeclaredTypes,
    Jobs,
    Poll,
    TypesAsked,
    rejected,
)

_END_LIMIT_SECONDS: Final = 40.0
"""How long a request waits for what it ends. Temporal may be away for a while; then the outcome is stored."""

_log = logging.getLogger(__name__)


class Gate(Protocol):
    """What a gateway lets in."""

    @property
    def queues(self) -> Mapping[str, GatewayQueue]:
        """The queues that it serves."""

    @property
    def draining(self) -> bool:
        """Whether it stops."""

    def refuse_poll(self) -> bool:
        """Return whether too many polls wait."""

    def refuse_end(self) -> bool:
        """Return whether too many attempts wait for the database."""


class GatewayApi:
    """Answers workers."""

    def __init__(
        self,
        gate: Gate,
        tokens: ScopedTokens,
        health: Health,
        metrics: GatewayMetrics,
        *,
        max_body_bytes: int,
        types: Sequence[TypeSchema] = (),
    ) -> None:
        """Prepare the answers.

        Args:
            gate: what is served, and how much of it.
            tokens: what requests must carry.
            health: what `/metrics`, `/livez` and `/readyz` show.
            metrics: this process's series.
            max_body_bytes: largest body of a request.
            types: the declared types, for workers that ask for their schemas.
        """
        self._gate = gate
        self._tokens = tokens
        self._health = health
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._decoders = {route.name: route.decoder() for route in routes.ROUTES}
        self._encode = msgspec.json.Encoder().encode
        self._types = [DeclaredType(one.name, one.queue, one.arguments, one.result) for one in types]
        self._document = msgspec.json.encode(document())

    def application(self) -> web.Application:
        """Build the aiohttp application."""
        app = web.Application(client_max_size=self._max_body_bytes, middlewares=[self._problems])
        add_health_routes(app.router, self._health)
        app.router.add_get(routes.OPENAPI_PATH, self._show_document)
        app.router.add_post(routes.POLL.path, self._poll)
        app.router.add_post(routes.TYPES.path, self._show_types)
        for route, name in (
            (routes.HEARTBEAT, "heartbeat"),
            (routes.EXTEND, "extend"),
            (routes.COMPLETE, "complete"),
            (routes.FAIL, "fail"),
            (routes.RELEASE, "release"),
        ):
            app.router.add_post(route.path, self._entries(route, name))
        return app

    @web.middleware
    async def _problems(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            response = await handler(request)
        except ProblemError as error:
            response = error.response()
        except web.HTTPNotFound:
            response = ProblemError(problems.NOT_FOUND, f"there is no {request.path}").response()
        except web.HTTPMethodNotAllowed as error:
            method = error.headers["Allow"]
            detail = f"send {method}, not {request.method}"
            response = ProblemError(problems.METHOD_NOT_ALLOWED, detail, headers={"Allow": method}).response()
        except web.HTTPRequestEntityTooLarge:
            detail = f"the body is larger than {self._max_body_bytes} bytes"
            response = ProblemError(problems.BODY_TOO_LARGE, detail).response()
        except (psycopg.Error, PoolTimeout, DatabaseError):
            response = come_back(problems.UNAVAILABLE, "the database does not answer").response()
        except (ConnectionError, TimeoutError, web.HTTPException):
            raise
        except Exception:
            _log.exception("gateway_request_failed")
            response = ProblemError(problems.INTERNAL, "the gateway's log says more").response()
        self._metrics.requests.labels(request.path if request.match_info.route.resource else "", response.status).inc()
        return response

    async def _show_document(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")

    async def _show_types(self, request: web.Request) -> web.Response:
        scope = self._scope(request)
        body: TypesAsked = await self._body(request, routes.TYPES)
        shown = [
            one
            for one in self._types
            if body.queue in (UNSET, one.queue) and scope.allows_queue(one.queue) and scope.allows_type(one.type)
        ]
        return self._reply(DeclaredTypes(shown))

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        scope = self._scope(request)
        body: Poll = await self._body(request, routes.POLL)
        if not scope.allows_queue(body.queue):
            raise ProblemError(problems.FORBIDDEN, f"the token is not for queue {body.queue}")
        for job_type in body.types:
            if not scope.allows_type(job_type):
                raise ProblemError(problems.FORBIDDEN, "the token is not for one of these types")
        if self._gate.draining:
            raise come_back(problems.DRAINING, "this gateway stops")
        queue = self._gate.queues.get(body.queue)
        if queue is None:
            raise ProblemError(problems.UNKNOWN_QUEUE, f"queue {body.queue} is not served by this gateway")
        if self._gate.refuse_poll():
            raise come_back(problems.TOO_MANY_REQUESTS, "too many polls wait at this gateway")
        transport = request.transport
        jobs = await queue.poll(body, lambda: transport is not None and not transport.is_closing())
        self._metrics.handed_out.inc(len(jobs))
        return self._reply(Jobs(jobs))

    def _entries(self, route: Route, name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        is_end = name in ("complete", "fail")

        async def answer(request: web.Request) -> web.StreamResponse:
            scope = self._scope(request)
            body: Any = await self._body(request, route)
            if is_end and self._gate.refuse_end():
                raise come_back(problems.TOO_MANY_REQUESTS, "too many outcomes wait for the database")
            try:
                async with asyncio.timeout(_END_LIMIT_SECONDS):
                    answers = await self._by_queue(body.jobs, scope, name)
            except TimeoutError:
                raise come_back(problems.UNAVAILABLE, "the outcome could not be written yet") from None
            for one in answers:
                self._metrics.answers.labels(name, one.status).inc()
            return self._reply(Answers(answers))

        return answer

    async def _by_queue(self, entries: Sequence[Any], scope: Scope, name: str) -> list[Answer]:
        """Give each queue its entries. Return the answers in the order of the entries."""
        answers: list[Answer] = [rejected("bad-token", "this is no job token")] * len(entries)
        by_queue: dict[str, list[int]] = defaultdict(list)
        named: dict[int, Named[Any]] = {}
        for number, entry in enumerate(entries):
            token = job_tokens.unpack(entry.token)
            if token is None:
                continue
            if not scope.allows_queue(token.queue):
                answers[number] = rejected("forbidden", "the token is not for this queue")
            elif token.queue not in self._gate.queues:
                answers[number] = rejected("bad-token", f"queue {token.queue} is not served by this gateway")
            else:
                by_queue[token.queue].append(number)
                named[number] = (token, entry)

        async def ask(queue: str, numbers: Sequence[int]) -> None:
            call = getattr(self._gate.queues[queue], name)
            for number, one in zip(numbers, await call([named[n] for n in numbers], scope), strict=True):
                answers[number] = one

        await asyncio.gather(*(ask(queue, numbers) for queue, numbers in by_queue.items()))
        return answers

    async def _body(self, request: web.Request, route: Route) -> Any:
        if request.content_type != "application/json":
            raise ProblemError(problems.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
        data = await request.read()
        try:
            data.decode()
            return self._decoders[route.name](data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            is_shape = isinstance(error, msgspec.ValidationError)  # its text names the place, not the value
            detail = str(error) if is_shape else "the body is not JSON"
            raise ProblemError(problems.INVALID_REQUEST, detail) from None

    def _scope(self, request: web.Request) -> Scope:
        if not self._tokens.required:
            return EVERYTHING
        given = request.headers.getall("Authorization", [])
        token = token_of(given[0]) if len(given) == 1 else None
        scope = None if token is None else self._tokens.scope(token)
        if scope is None:
            headers = {"WWW-Authenticate": "Bearer"}
            raise ProblemError(problems.UNAUTHORIZED, "send Authorization: Bearer with a known token", headers=headers)
        return scope

    def _reply(self, body: msgspec.Struct) -> web.Response:
        return web.Response(body=self._encode(body), content_type="application/json")
