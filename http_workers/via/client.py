"""The client of a gateway: posts the requests of the HTTP worker protocol."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from delegator.config import Settings
from delegator.errors import ConfigurationError, GatewayError, WireError
from delegator.runtime.client_tls import client_tls
from delegator.runtime.connection_state import ConnectionState
from delegator.runtime.tokens import TokenFile
from delegator.wire.worker_protocol import Answer, Answers, Job, Jobs, Poll, Problem
from http_workers.via.address import TOKEN_FILE, base_url

_CONNECT_SECONDS: Final = 5.0
_POLL_MARGIN_SECONDS: Final = 5.0
_MOST_BYTES: Final = 256 << 20
_REFUSALS: Final = frozenset({400, 401, 403, 404, 405, 415})
_CA_FILE: Final = "DELEGATOR_GATEWAY_CA_FILE"
_LONGEST_DETAIL: Final = 200


class GatewayRefusedError(GatewayError):
    """The gateway refuses a request, and will refuse it again. Only a person can fix the cause."""


class BodyTooLargeError(GatewayError):
    """The gateway takes no request of this size (`--max-body`)."""


class GatewayBusyError(GatewayError):
    """The gateway has no time for the request now."""

    def __init__(self, message: str, seconds: float) -> None:
        """Take what it said.

        Args:
            message: for people.
            seconds: when to repeat the request.
        """
        super().__init__(message)
        self.seconds = seconds


class GatewayClient:
    """Posts requests to a gateway, or to several behind one address. Use it as an async context manager."""

    def __init__(self, url: str, settings: Settings, state: ConnectionState) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: base URL of the gateway.
            settings: the token and the trusted authorities.
            state: measures requests.

        Raises:
            ConfigurationError: one of them can't be used.
        """
        base = base_url(url)
        self.origin = str(base.origin())
        """Where the gateway is, for people."""
        self._routes = base / "v1"
        self._state = state
        self._token = _token_of(settings)
        self._tls = client_tls(settings.gateway_ca_file, _CA_FILE)
        self._exits = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._encode = msgspec.json.Encoder().encode
        self._jobs = msgspec.json.Decoder(Jobs)
        self._answers = msgspec.json.Decoder(Answers)

    async def __aenter__(self) -> Self:
        self._session = await self._exits.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls), auto_decompress=False)
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def poll(self, request: Poll) -> list[Job]:
        """Wait for jobs.

        Raises:
            GatewayRefusedError: wrong token, no such queue, a refused request.
            GatewayError: the gateway can't be reached, is silent or busy.
            WireError: the reply is not what the protocol says.
        """
        data = await self._post("poll", self._encode(request), request.wait_seconds + _POLL_MARGIN_SECONDS)
        jobs: Jobs = _decoded("poll", self._jobs, data)
        return jobs.jobs

    async def send(self, route: str, entries: Sequence[bytes], seconds: float) -> list[Answer]:
        """Send entries about jobs. Return the answers in their order.

        Args:
            route: `heartbeat`, `extend`, `complete`, `fail` or `release`.
            entries: encoded entries, at most 1,000.
            seconds: how long the gateway may be silent.

        Raises:
            GatewayRefusedError: wrong token, a refused request.
            GatewayError: the gateway can't be reached, is silent or busy.
            WireError: the reply is not what the protocol says.
        """
        with self._state.timed(route):
            data = await self._post(route, b'{"jobs":[' + b",".join(entries) + b"]}", seconds)
        reply: Answers = _decoded(route, self._answers, data)
        answers = reply.jobs
        if len(answers) != len(entries):
            raise WireError(f"the gateway answered {route!r} with {len(answers)} entries, not {len(entries)}")
        return answers

    async def _post(self, route: str, body: bytes, seconds: float) -> bytes:
        if self._session is None:
            raise RuntimeError("GatewayClient is used outside its context")
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if token := self._token():
            headers["Authorization"] = f"Bearer {token}"
        timeout = aiohttp.ClientTimeout(total=None, connect=min(_CONNECT_SECONDS, seconds), sock_read=seconds)
        try:
            async with self._session.post(
                self._routes / route, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                data = await _read(route, response)
                if response.status != 200:
                    raise self._refusal(route, response, data)
                return data
        except TimeoutError:
            raise GatewayError(f"the gateway at {self.origin} is silent; is it up? (--via)") from None
        except (aiohttp.ClientError, OSError) as error:
            raise GatewayError(f"the gateway at {self.origin} can't be reached: {_reason(error)} (--via)") from None

    def _refusal(self, route: str, response: aiohttp.ClientResponse, data: bytes) -> GatewayError:
        status = response.status
        try:
            problem = msgspec.json.decode(data, type=Problem)
            said = f"{problem.code}: {' '.join(problem.detail.split())[:_LONGEST_DETAIL]}"
        except msgspec.DecodeError:
            said = "it is no gateway that answers" if status in _REFUSALS else "no more is known"
        where = f"the gateway at {self.origin}"
        if status == 401:
            return GatewayRefusedError(
                f"{where} refuses the token: set DELEGATOR_GATEWAY_TOKEN or {TOKEN_FILE} to a valid one"
            )
        if status in _REFUSALS or 300 <= status < 400:
            return GatewayRefusedError(f"{where} refuses {route} ({status}, {said})")
        if status == 413:
            return BodyTooLargeError(f"{where} takes no {route} of this size ({said})")
        try:
            seconds = float(response.headers.get("Retry-After", ""))
        except ValueError:
            return GatewayError(f"{where} is not ready ({status}, {said})")
        return GatewayBusyError(f"{where} is busy ({status}, {said})", seconds)


async def _read(route: str, response: aiohttp.ClientResponse) -> bytes:
    """Read a reply, at most `_MOST_BYTES` of it.

    Raises:
        WireError: it is larger, or compressed.
    """
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise WireError(f"the gateway compressed its answer to {route!r}, although the request does not allow that")
    data = bytearray()
    async for part in response.content.iter_any():
        data += part
        if len(data) > _MOST_BYTES:
            raise WireError(f"the gateway answered {route!r} with more than {_MOST_BYTES} bytes")
    return bytes(data)


def _decoded(route: str, decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:  # its text names the place and the type, not the value
        raise WireError(f"the gateway answered {route!r} with a malformed reply: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise WireError(f"the gateway answered {route!r} with {len(data)} bytes that are not JSON") from None


def _token_of(settings: Settings) -> Callable[[], str]:
    """Return what gives the token of each request.

    Raises:
        ConfigurationError: it can't be read, or an HTTP header can't carry it.
    """
    given, file = settings.gateway_token, settings.gateway_token_file
    if file is not None:
        if given is not None:
            raise ConfigurationError(f"set DELEGATOR_GATEWAY_TOKEN or {TOKEN_FILE}, not both")
        return TokenFile(file, _read_token).tokens
    token = "" if given is None else _usable(given.get_secret_value(), "DELEGATOR_GATEWAY_TOKEN")
    return lambda: token


def _read_token(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigurationError(f"{TOKEN_FILE} {file}: {reason}") from None
    tokens = [line.strip() for line in lines if line.strip()]
    if len(tokens) != 1:
        raise ConfigurationError(f"{TOKEN_FILE} {file}: it must hold one token, and holds {len(tokens)}")
    return _usable(tokens[0], f"{TOKEN_FILE} {file}")


def _usable(token: str, where: str) -> str:
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError(f"{where}: it holds a character that an HTTP header can't carry")
    return token


def _reason(error: BaseException) -> str:
    # Not str(error): aiohttp quotes bytes of a broken reply in some of its errors.
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        refused = error.certificate_error
        words = refused.verify_message if isinstance(refused, ssl.SSLCertVerificationError) else "it is not trusted"
        return f"its certificate: {words}, see {_CA_FILE}"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__
