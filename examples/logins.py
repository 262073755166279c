"""Who may do what: people with a role and a password, and their sessions in a signed cookie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web
from itsdangerous import BadSignature, TimestampSigner

from examples.database import connection, fetch_all
from examples.pages import Pages
from examples.service import setting

SCHEMA: Final = Path(__file__).with_suffix(".sql")
_COOKIE: Final = "session"
SECRET: Final = "EXAMPLES_SECRET"
"""The environment variable that holds what cookies are signed with. A service that starts again knows its sessions."""
_SESSION_SECONDS: Final = 12 * 3_600


class Login(NamedTuple):
    """A login and its password."""

    login: str
    password: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of HTTP's basic authentication (RFC 7617)."""
        return {"Authorization": "Basic " + base64.b64encode(":".join(self).encode()).decode()}


@dataclass(frozen=True)
class Person:
    """Who sent a request."""

    login: str
    role: str


async def add_person(role: str, person: Login) -> None:
    """Create a login."""
    salt = secrets.token_bytes(16)
    values = (person.login, role, f"{person.login}@example.org", salt, _hashed(person.password, salt))
    async with connection() as opened:
        await opened.execute("INSERT INTO logins.people VALUES (%s, %s, %s, %s, %s)", values)


def add_login(application: web.Application, pages: Pages) -> None:
    """Add the page `/login`, where a session begins, and `/logout`, where it ends."""

    async def show(request: web.Request) -> web.Response:
        return pages.page(request, "login.html")

    async def log_in(request: web.Request) -> web.Response:
        form = await pages.form(request)
        person = await _checked(str(form.get("login")), str(form.get("password")))
        if person is None:
            return pages.page(request, "login.html", status=403, is_wrong=True)
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(_COOKIE, _signer().sign(person.login).decode(), httponly=True, samesite="Strict")
        return answer

    async def log_out(request: web.Request) -> web.Response:
        await pages.form(request)
        answer = web.Response(status=303, headers={"Location": "/login"})
        answer.del_cookie(_COOKIE)
        return answer

    application.add_routes([web.get("/login", show), web.post("/login", log_in), web.post("/logout", log_out)])


async def person_of(request: web.Request, role: str | None = None) -> Person:
    """Return who sent a request, by its cookie or by HTTP's basic authentication.

    Raises:
        HTTPSeeOther: to the page `/login`: nobody did, and the request comes from a browser.
        HTTPUnauthorized: nobody did.
        HTTPForbidden: the person has another role than the one that is asked for.
    """
    person = await _sender(request)
    if person is None:
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther("/login")
        raise web.HTTPUnauthorized
    if role is not None and person.role != role:
        raise web.HTTPForbidden(text=f"only a {role} may do this")
    return person


async def _sender(request: web.Request) -> Person | None:
    try:
        if header := request.headers.get("Authorization"):
            login, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            return await _checked(login, password)
        login = _signer().unsign(request.cookies.get(_COOKIE, ""), max_age=_SESSION_SECONDS).decode()
    except (ValueError, BadSignature):
        return None
    found = await fetch_all("SELECT login, role FROM logins.people WHERE login = %s", login)
    return Person(*found[0]) if found else None


async def _checked(login: str, password: str) -> Person | None:
    found = await fetch_all("SELECT role, salt, password_hash FROM logins.people WHERE login = %s", login)
    # An unknown login takes as long as a wrong password, so that nobody learns which logins exist.
    role, salt, expected = found[0] if found else ("", b"", b"")
    return Person(login, role) if hmac.compare_digest(_hashed(password, salt), expected) else None


def _hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def _signer() -> TimestampSigner:
    return TimestampSigner(setting(SECRET), salt="session")
