"""Who may do what: logins, sessions, and the tokens that tie a form to its session."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from aiohttp import BasicAuth, web

from examples.database import connection

COOKIE = "onboarding"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


@dataclass(frozen=True)
class Person:
    """Who sent a request."""

    login: str
    role: str
    csrf: str | None
    """What forms must send back; None: the request has a password of its own, so no other site can have sent it."""


async def add_person(login: str, role: str, password: str) -> None:
    """Create a login."""
    salt = secrets.token_bytes(16)
    async with connection() as opened:
        await opened.execute(
            "INSERT INTO onboarding.people (login, role, mail, salt, password_hash) VALUES (%s, %s, %s, %s, %s)",
            (login, role, f"{login}@example.org", salt, _hashed(password, salt)),
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
        try:
            given = BasicAuth.decode(header)
        except ValueError:
            return None
        role = await _role(given.login, given.password)
        return None if role is None else Person(given.login, role, None)
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
