"""Checks the stream: whether it answers, is healthy, takes the token, and has the queues' streams."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import aiohttp
from delegator_schema.queues import queue_table

from delegator.config import Settings
from delegator.errors import ConfigurationError, first_line
from delegator.operating.doctor.check import Check, failed, ok, skipped
from delegator.runtime.client_tls import stream_tls

_LIMIT: Final = timedelta(seconds=5)
_URL: Final = "start Sequin or `delegator relay`, or set DELEGATOR_STREAM_URL to where it listens"


async def check_stream(settings: Settings, **connection: Any) -> list[Check]:
    """Check the stream of every queue. An acknowledgement of a message that never was changes nothing there.

    Args:
        settings: the stream's address and token, and the queues.
        connection: options of the HTTP session.
    """
    url = settings.stream_url.rstrip("/")
    token = "" if settings.stream_token is None else settings.stream_token.get_secret_value()
    timeout = aiohttp.ClientTimeout(total=_LIMIT.total_seconds())
    try:
        if settings.stream_ca_file is not None:
            connection["connector"] = aiohttp.TCPConnector(ssl=stream_tls(settings.stream_ca_file))
        async with aiohttp.ClientSession(timeout=timeout, **connection) as session:
            async with session.get(f"{url}/health") as answer:
                health = answer.status
                problem = await _problem(answer)
            if health == 404:
                return [failed("stream", f"{url} answers, and is no stream: it has no /health", _URL)]
            checks = [
                ok("stream", f"{url} is healthy")
                if health == 200
                else failed("stream", f"{url} is not healthy: {problem}", "see its log, and the checks above")
            ]
            headers = {"Authorization": f"Bearer {token or 'none'}"}
            checks += [await _check_queue(session, url, queue, headers) for queue in settings.queues]
    except (aiohttp.ClientError, ConfigurationError, TimeoutError, ValueError) as error:
        reason = first_line(error) or type(error).__name__
        return [
            failed("stream", f"{url} does not answer (DELEGATOR_STREAM_URL): {reason}", _URL),
            *_none(settings.queues),
        ]
    return checks


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


async def _problem(answer: aiohttp.ClientResponse) -> str:
    try:
        body = await answer.json(content_type=None)
        return str(body.get("problem") or body.get("state") or answer.status)
    except (ValueError, AttributeError):
        return f"/health answers {answer.status}"


def _none(queues: Sequence[str]) -> list[Check]:
    return [skipped(f"stream of queue {queue}", "the stream") for queue in queues]
