"""The client of the stream: takes messages over Sequin's HTTP API. The relay has the same API."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
import orjson
from delegator_schema.queues import queue_table
from pydantic import SecretStr
from yarl import URL

from delegator.errors import ConfigurationError, StreamError, WireError
from delegator.runtime.client_tls import stream_tls
from delegator.runtime.pull_protocol import GIVES_BACK

MAX_BATCH: Final = 1000
MIN_WAIT: Final = timedelta(milliseconds=500)
MAX_WAIT: Final = timedelta(minutes=5)

_WAIT_UNNOTICED: Final = timedelta(seconds=1)
"""How long a request waits at a stream that does not notice the end of its sender."""
_TRANSIENT_4XX: Final = frozenset({408, 425, 429})
_READ_BUFFER: Final = 1 << 20
_SUMMARY_LIMIT: Final = 200
_MOST_BYTES: Final = 16 << 20
"""Largest reply. A thousand messages without payloads take less than 1 MiB."""


class StreamRefusedError(StreamError):
    """The stream refused a request, and will refuse it again. Only a person can fix the cause."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """The columns of an inserted row. A worker reads the rest when it claims the row."""

    job_id: object = None
    """A string, unless the stream is of another table."""
    fencing_token: object = None
    """An integer, unless the stream is of another table."""


class Data(msgspec.Struct, frozen=True, gc=False):
    """The part of a message that holds the row."""

    record: Record
    """The row."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One inserted row, as the stream delivered it. Other fields are not decoded."""

    ack_id: str
    """Names the message in `ack` and `nack`. A redelivery has the same id."""
    data: Data
    """The content."""


class _Received(msgspec.Struct, frozen=True, gc=False):
    data: list[Message]


_RECEIVED: Final = msgspec.json.Decoder(_Received)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTimeouts:
    """How long the stream may be silent before its connection counts as lost."""

    connect: timedelta = timedelta(seconds=5)
    """Name resolution, TCP and TLS together."""
    margin: timedelta = timedelta(seconds=5)
    """Silence allowed after the `wait` of a `receive`. A half-open connection is noticed after both."""
    ack: timedelta = timedelta(seconds=10)
    """Silence allowed in an `ack` or a `nack`."""


class _Server:
    """One of the servers that may stream."""

    def __init__(self, base: URL, stream: str) -> None:
        self.origin = str(base)
        routes = base / "api" / "sequin_streams" / stream
        self.routes = {route: routes / route for route in ("receive", "ack", "nack")}


class StreamSource:
    """Receives and acknowledges the messages of one queue.

    Use it as an async context manager. It may be called from several tasks at once.
    """

    def __init__(
        self,
        *,
        url: str,
        queue: str,
        token: SecretStr | None = None,
        session: aiohttp.ClientSession | None = None,
        timeouts: StreamTimeouts | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Prepare the client; nothing is sent yet.

        Args:
            url: base URL of Sequin or of the relay (`DELEGATOR_STREAM_URL`); or several, comma-separated, for relays of
                which one streams. A request that one of them does not answer goes to the next.
            queue: name of the queue; its stream has the name of its table.
            token: API token of the stream (`DELEGATOR_STREAM_TOKEN`).
            session: used and left open; without it the source opens a session of its own, and closes it.
            timeouts: the time limits; None: the defaults.
            ca_file: the authorities whose certificates are trusted (`DELEGATOR_STREAM_CA_FILE`); None: the system's.

        Raises:
            ConfigurationError: `url`, `token` or `ca_file` can't be used.
        """
        self._queue = queue
        self._stream = queue_table(queue)
        self._servers = [_Server(base, self._stream) for base in _base_urls(url)]
        self._at = 0
        self._headers = _headers(token)
        self._tls = stream_tls(ca_file)
        self._timeouts = timeouts or StreamTimeouts()
        self._ack_timeout = self._timeout(self._timeouts.ack)
        self._borrowed = session
        self._session = session
        self._exits = AsyncExitStack()
        self._gives_back = False

    async def __aenter__(self) -> Self:
        if self._borrowed is None:
            self._session = await self._exits.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=self._tls), read_bufsize=_READ_BUFFER, auto_decompress=False
                )
            )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = self._borrowed
        await self._exits.aclose()

    @property
    def gives_back(self) -> bool:
        """Whether the stream notices when a request's sender is gone, and offers its messages to others at once.

        The relay says so in its answers.
        """
        return self._gives_back

    def longest_wait(self, wait: timedelta) -> timedelta:
        """Return how long a request may wait, so that little is late when this process is killed.

        Args:
            wait: how long it would like to wait.
        """
        return wait if self._gives_back else min(wait, _WAIT_UNNOTICED)

    @property
    def stream(self) -> str:
        """Name of the stream: of the sink in Sequin, of the table in the relay."""
        return self._stream

    async def receive(self, max_messages: int, wait: timedelta) -> list[Message]:
        """Take up to `max_messages` messages, waiting for the first.

        Sequin may answer with nothing long before `wait` is over; see `http_workers.pacing`.

        Args:
            max_messages: at least 1; the protocol hands out no more than 1000 at a time.
            wait: how long the stream may wait for a message; zero: not at all. The protocol allows 0.5 s to 5 min.

        Raises:
            StreamRefusedError: wrong token, no such stream, a refused request.
            StreamError: the stream can't be reached, is silent or not ready.
            WireError: the reply is not what the protocol says.
        """
        request: dict[str, int] = {"batch_size": min(max_messages, MAX_BATCH)}
        if wait:
            wait = min(max(wait, MIN_WAIT), MAX_WAIT)
            request["wait_for"] = wait // timedelta(milliseconds=1)
        timeout = self._timeout(wait + self._timeouts.margin)
        body = await self._post("receive", request, timeout)
        try:
            return _RECEIVED.decode(body).data
        except msgspec.ValidationError as error:  # its text names the place and the type, not the value
            raise self._malformed("receive", str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._malformed("receive", f"{len(body)} bytes that are not JSON") from None

    async def ack(self, ack_ids: Sequence[str]) -> None:
        """Acknowledge these messages. The stream ignores ids that it does not know.

        Raises:
            StreamRefusedError: wrong token, no such stream, a refused request.
            StreamError: the stream can't be reached, is silent or not ready.
            WireError: the reply is not what the protocol says.
        """
        await self._post_ids("ack", ack_ids)

    async def nack(self, ack_ids: Sequence[str]) -> None:
        """Give messages back: the stream offers them to others at once.

        Raises:
            StreamRefusedError: wrong token, no such stream, a refused request.
            StreamError: the stream can't be reached, is silent or not ready.
            WireError: the reply is not what the protocol says.
        """
        await self._post_ids("nack", ack_ids)

    async def _post_ids(self, route: str, ack_ids: Sequence[str]) -> None:
        if not ack_ids:
            return
        body = await self._post(route, {"ack_ids": list(ack_ids)}, self._ack_timeout)
        if self._decode(body, route).get("success") is not True:
            raise self._malformed(route, '"success" is not true')

    async def _post(self, route: str, request: dict[str, Any], timeout: aiohttp.ClientTimeout) -> bytes:
        """Ask the server that answered last. If it fails, ask each of the others once."""
        failures: list[StreamError | WireError] = []
        for _ in self._servers:
            at = self._at
            try:
                return await self._post_to(self._servers[at], route, request, timeout)
            except (StreamError, WireError) as error:
                failures.append(error)
            if at == self._at:  # otherwise another request has moved on already
                self._at = (at + 1) % len(self._servers)
        if len(failures) == 1:
            raise failures[0]
        only_people = all(isinstance(failure, StreamRefusedError) for failure in failures)
        raise (StreamRefusedError if only_people else StreamError)("; ".join(dict.fromkeys(map(str, failures))))

    async def _post_to(
        self, server: _Server, route: str, request: dict[str, Any], timeout: aiohttp.ClientTimeout
    ) -> bytes:
        if self._session is None:
            raise RuntimeError("StreamSource is used outside its context")
        origin = server.origin
        try:
            async with self._session.post(
                server.routes[route],
                data=orjson.dumps(request),
                headers=self._headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                body = await self._body(response)
                status = response.status
                if status == 200 and route == "receive":
                    self._gives_back = GIVES_BACK in response.headers
        except TimeoutError:
            raise StreamError(f"the stream at {origin} is silent; is it up? ({_advice_url()})") from None
        except (aiohttp.ClientError, OSError) as error:
            raise StreamError(f"the stream at {origin} can't be reached: {_reason(error)} ({_advice_url()})") from error
        if status != 200:
            raise self._refusal(origin, status, body)
        return body

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a reply, at most `_MOST_BYTES` of it. A compressed one may be a thousand times larger than it looks.

        Raises:
            WireError: the reply is larger, or compressed.
        """
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._malformed(response.url.name, "it is compressed, although the request does not allow that")
        length = response.content_length
        if length is not None and length <= _MOST_BYTES:
            return await response.read()
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > _MOST_BYTES:
                raise self._malformed(response.url.name, f"it has more than {_MOST_BYTES} bytes")
        return b"".join(parts)

    def _refusal(self, origin: str, status: int, body: bytes) -> StreamError:
        where = f"the stream at {origin}"
        if status in (401, 403):
            return StreamRefusedError(
                f"{where} refuses the token ({status}); set DELEGATOR_STREAM_TOKEN to a valid one"
            )
        if status == 404:
            return StreamRefusedError(
                f"{where} has no sink named {self._stream!r} for queue {self._queue!r}; declare the queue in "
                "DELEGATOR_QUEUES, run `delegator migrate`, then apply the output of `delegator sequin-config` "
                "(or restart `delegator relay`)"
            )
        if 300 <= status < 400:
            return StreamRefusedError(f"{where} redirects ({status}); {_advice_url()}")
        summary = _summary(body)
        if 400 <= status < 500 and status not in _TRANSIENT_4XX:
            return StreamRefusedError(f"{where} refuses the request ({status}){summary}; {_advice_url()}")
        return StreamError(f"{where} is not ready ({status}){summary}")

    def _decode(self, body: bytes, route: str) -> dict[str, Any]:
        try:
            reply = orjson.loads(body)
        except (orjson.JSONDecodeError, RecursionError):
            raise self._malformed(route, f"{len(body)} bytes that are not JSON") from None
        if not isinstance(reply, dict):
            raise self._malformed(route, "not a JSON object")
        return reply

    def _malformed(self, route: str, what: str) -> WireError:
        return WireError(
            f"the stream at {self._servers[self._at].origin} answered {route!r} with a malformed reply: {what}"
        )

    def _timeout(self, silence: timedelta) -> aiohttp.ClientTimeout:
        # No total limit: a large batch on a slow link is fine while bytes arrive.
        return aiohttp.ClientTimeout(
            total=None, connect=self._timeouts.connect.total_seconds(), sock_read=silence.total_seconds()
        )


def _base_urls(urls: str) -> list[URL]:
    bases = []
    for url in urls.split(","):
        try:
            base = URL(url.strip())
            port = base.port
        except ValueError:
            base, port = URL(), None
        if base.scheme not in ("http", "https") or not base.host or port is None:
            raise ConfigurationError(
                "DELEGATOR_STREAM_URL is not a URL like http://127.0.0.1:7376, nor several of them, comma-separated"
            )
        if base.user is not None or base.password is not None:
            raise ConfigurationError("DELEGATOR_STREAM_URL holds credentials; put the token in DELEGATOR_STREAM_TOKEN")
        bases.append(base.with_query(None).with_fragment(None))
    return bases


def _headers(token: SecretStr | None) -> dict[str, str]:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}
    if token is not None and (secret := token.get_secret_value()):
        if not secret.isascii() or not secret.isprintable():
            raise ConfigurationError("DELEGATOR_STREAM_TOKEN holds a character that an HTTP header can't carry")
        headers["Authorization"] = f"Bearer {secret}"
    return headers


def _advice_url() -> str:
    return "check DELEGATOR_STREAM_URL"


def _reason(error: BaseException) -> str:
    # Not str(error): aiohttp quotes bytes of a broken reply in some of its errors.
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        refused = error.certificate_error
        words = refused.verify_message if isinstance(refused, ssl.SSLCertVerificationError) else "it is not trusted"
        return f"its certificate: {words}, see DELEGATOR_STREAM_CA_FILE"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__


def _summary(body: bytes) -> str:
    """Return what a refusal says: Sequin's API says it in `summary`, the web framework below it in `errors.detail`."""
    try:
        reply = orjson.loads(body)
        summary = reply["summary"] if "summary" in reply else reply["errors"]["detail"]
    except (orjson.JSONDecodeError, KeyError, TypeError, RecursionError):
        return ""
    return f": {' '.join(summary.split())[:_SUMMARY_LIMIT]}" if isinstance(summary, str) else ""
