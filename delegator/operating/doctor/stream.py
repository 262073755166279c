"""Checks the stream: whether it answers, is healthy, takes the token, and has the queues' streams."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from delegator_schema.queues import queue_table

from delegator.config import Settings
from delegator.errors import ConfigurationError, first_line
from delegator.operating.doctor.check import Check, failed, note, ok, skipped
from delegator.runtime.client_tls import stream_tls

_LIMIT: Final = timedelta(seconds=5)
_URL: Final = "start Sequin or `delegator relay`, or set DELEGATOR_STREAM_URL to where it listens"


@dataclass(frozen=True, slots=True)
class _Server:
    """What one of the servers said."""

    url: str
    status: int | None
    """Of its /health; None: it does not answer."""
    standby: bool = False
    """Another relay streams, and this one would take over."""
    problem: str = ""


async def check_stream(settings: Settings, **connection: Any) -> list[Check]:
    """Check the stream of every queue. An acknowledgement of a message that never was changes nothing there.

    Args:
        settings: the stream's addresses and token, and the queues.
        connection: options of the HTTP session.
    """
    urls = [url.strip().rstrip("/") for url in settings.stream_url.split(",") if url.strip()]
    token = "" if settings.stream_token is None else settings.stream_token.get_secret_value()
    timeout = aiohttp.ClientTimeout(total=_LIMIT.total_seconds())
    try:
        if settings.stream_ca_file is not None:
            connection["connector"] = aiohttp.TCPConnector(ssl=stream_tls(settings.stream_ca_file))
        async with aiohttp.ClientSession(timeout=timeout, **connection) as session:
            servers = [await _ask(session, url) for url in urls]
            checks = _judge(servers)
            # Where none streams, the one that answers says at least whether it knows the queue and the token.
            answering = [server for server in servers if server.status not in (None, 404)]
            if not answering:
                return [*checks, *_none(settings.queues)]
            best = min(answering, key=lambda server: server.status != HTTPStatus.OK)
            headers = {"Authorization": f"Bearer {token or 'none'}"}
            checks += [await _check_queue(session, best.url, queue, headers) for queue in settings.queues]
    except (aiohttp.ClientError, ConfigurationError, TimeoutError, ValueError) as error:
        reason = first_line(error) or type(error).__name__
        return [
            failed("stream", f"{settings.stream_url} does not answer (DELEGATOR_STREAM_URL): {reason}", _URL),
            *_none(settings.queues),
        ]
    return checks


async def _ask(session: aiohttp.ClientSession, url: str) -> _Server:
    try:
        async with session.get(f"{url}/health") as answer:
            problem, state = await _problem(answer)
            return _Server(url, answer.status, state == "standby", problem)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return _Server(url, None, problem=first_line(error) or type(error).__name__)


def _judge(servers: Sequence[_Server]) -> list[Check]:
    """Return a check for each server and, if there are several, one for all of them: one has to stream."""
    streams = [server.url for server in servers if server.status == HTTPStatus.OK]
    several = len(servers) > 1
    checks = []
    if several and streams:
        checks.append(ok("stream", f"{', '.join(streams)} answers, of {len(servers)} servers"))
    elif several:
        checks.append(failed("stream", f"none of the {len(servers)} servers of DELEGATOR_STREAM_URL streams", _URL))
    for server in servers:
        link = f"stream server {server.url}" if several else "stream"
        if server.status == HTTPStatus.OK:
            checks.append(ok(link, f"{server.url} is healthy"))
        elif server.standby and streams:
            checks.append(ok(link, f"{server.url} stands by"))
        else:
            # Workers ask the next one, so nothing stops; but nothing would take over either.
            judge = note if streams else failed
            checks.append(judge(link, *_wrong(server)))
    return checks


def _wrong(server: _Server) -> tuple[str, str]:
    if server.status is None:
        return f"{server.url} does not answer (DELEGATOR_STREAM_URL): {server.problem}", _URL
    if server.status == HTTPStatus.NOT_FOUND:
        return f"{server.url} answers, and is no stream: it has no /health", _URL
    if server.standby:
        return (
            f"{server.url} is not healthy: {server.problem}; another relay streams",
            "name all relays in DELEGATOR_STREAM_URL, with commas between them",
        )
    return f"{server.url} is not healthy: {server.problem}", "see its log, and the checks above"


async def _check_queue(session: aiohttp.ClientSession, url: str, queue: str, headers: dict[str, str]) -> Check:
    link, name = f"stream of queue {queue}", queue_table(queue)
    body = {"ack_ids": [str(uuid.uuid4())]}
    async with session.post(f"{url}/api/sequin_streams/{name}/ack", json=body, headers=headers) as answer:
        status = answer.status
    if status == 200:
        return ok(link, f"stream {name} exists, and takes the token")
    if status in (401, 403):
        return failed(
            link, f"the stream refuses the token ({status})", "set DELEGATOR_STREAM_TOKEN to the stream's token"
        )
    if status == 404:
        return failed(
            link,
            f"there is no stream {name}",
            "name the queue in DELEGATOR_QUEUES of the relay, or give Sequin what `delegator sequin-config` prints",
        )
    return failed(link, f"stream {name} answers {status}", "see the stream's log")


async def _problem(answer: aiohttp.ClientResponse) -> tuple[str, str]:
    try:
        body = await answer.json(content_type=None)
        state = str(body.get("state") or "")
        return str(body.get("problem") or state or answer.status), state
    except (ValueError, AttributeError):
        return f"/health answers {answer.status}", ""


def _none(queues: Sequence[str]) -> list[Check]:
    return [skipped(f"stream of queue {queue}", "the stream") for queue in queues]
