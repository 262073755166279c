"""Who may do what: logins, sessions, and the tokens that tie a form to its session."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import NamedTuple, Self

from aiohttp import web

from examples.database import connection

COOKIE = "onboarding"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


class Login(NamedTuple):
    """A login and its password."""

    login: str
    password: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of HTTP's basic authentication (RFC 7617)."""
        return {"Authorization": "Basic " + base64.b64encode(f"{self.login}:{self.password}".encode()).decode()}

    @classmethod
    def of_header(cls, header: str) -> Self | None:
        """Return what a header says; None: it is of another kind."""
        scheme, _, credentials = header.partition(" ")
        try:
            login, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return cls(login, password) if colon and scheme.lower() == "basic" else None


@dataclass(frozen=True)
class Person:
    """Who sent a request."""

    login: str
    role: str
    csrf: str | None
    """What forms must send back; None: the request has a password of its own, so no other site can have sent it."""


async def add_person(role: str, person: Login) -> None:
    """Create a login."""
    salt = secrets.token_bytes(16)
    async with connection() as opened:
        await opened.execute(
            "INSERT INTO onboarding.people (login, role, mail, salt, password_hash) VALUES (%s, %s, %s, %s, %s)",
            (person.login, role, f"{person.login}@example.org", salt, _hashed(person.password, salt)),
        )


async def log_in(login: str, password: str) -> str | None:
    """Begin a session and return its token; None: the login or the password is wrong."""
    if await _role(login, password) is None:
        return None
    token = secrets.token_urlsafe(32)
    async with connection() as opened:
        await opened.execute(
            "INSERT INTO onboarding.sessions VALUES (%s, %s, %s, now() + interval '12 hours')",
            (_token_hash(token), login, secrets.token_urlsafe(16)),
        )
    return token


async def log_out(request: web.Request) -> None:
    """End the request's session."""
    async with connection() as opened:
        token = _token_hash(request.cookies.get(COOKIE, ""))
        await opened.execute("DELETE FROM onboarding.sessions WHERE token_hash = %s", (token,))


async def person_of(request: web.Request) -> Person | None:
    """Return who sent a request, by its cookie or by HTTP's basic authentication."""
    if header := request.headers.get("Authorization"):
        given = Login.of_header(header)
        role = await _role(*given) if given else None
        return Person(given.login, role, None) if given and role else None
    select = """
        SELECT login, role, csrf FROM onboarding.sessions JOIN onboarding.people USING (login)
        WHERE token_hash = %s AND expires_at > now()
    """
    async with connection() as opened:
        row = await (await opened.execute(select, (_token_hash(request.cookies.get(COOKIE, "")),))).fetchone()
    return None if row is None else Person(*row)


async def _role(login: str, password: str) -> str | None:
    async with connection() as opened:
        select = "SELECT role, salt, password_hash FROM onboarding.people WHERE login = %s"
        row = await (await opened.execute(select, (login,))).fetchone()
    # An unknown login takes as long as a wrong password, so that nobody learns which logins exist.
    role, salt, expected = row or (None, b"", b"")
    return role if hmac.compare_digest(_hashed(password, salt), expected) else None


def _hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_SCRYPT["n"], r=_SCRYPT["r"], p=_SCRYPT["p"])


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
