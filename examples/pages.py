"""What pages have in common: templates, forms that no other site can send, and headers that keep scripts out."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from aiohttp import BodyPartReader, web
from itsdangerous import Signer
from jinja2 import Environment, FileSystemLoader
from multidict import MultiDictProxy

PIECE: Final = 256 * 1024
"""Bytes of a file that are in memory at once."""
_COOKIE: Final = "visitor"
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


class Pages:
    """Renders the templates of a folder, and takes their forms.

    Each form holds a token that belongs to its visitor's cookie. Another site can't read either of them.
    """

    def __init__(self, folder: Path, secret: str, *, has_passwords: bool = False) -> None:
        """Use the templates of a folder, and those that examples share.

        Args:
            folder: has the templates.
            secret: signs the tokens.
            has_passwords: programs may send forms without a token if they send a password with each request. Never ask
                a browser for such a password: it would send it with the forms of other sites, too.
        """
        loader = FileSystemLoader([folder, Path(__file__).parent])
        self.templates = Environment(loader=loader, autoescape=True)
        """For filters of an example's own."""
        self._signer, self._has_passwords = Signer(secret, salt="form"), has_passwords

    def page(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Return a page. Its template puts the token, `csrf`, into each form, as its first field."""
        visitor = request.cookies.get(_COOKIE) or secrets.token_urlsafe(16)
        token = self._signer.get_signature(visitor).decode()
        html = self.templates.get_template(template).render(csrf=token, **values)
        response = web.Response(text=html, status=status, content_type="text/html", headers=_HEADERS)
        response.set_cookie(_COOKIE, visitor, httponly=True, samesite="Strict")
        return response

    async def form(self, request: web.Request) -> MultiDictProxy[Any]:
        """Return a form's fields.

        Raises:
            HTTPForbidden: the form was not made for this visitor.
        """
        form = await request.post()
        self._check(request, form.get("csrf"))
        return form

    async def file(self, request: web.Request) -> AsyncIterator[bytes]:
        """Yield the pieces of the file in a form. The token comes before it, so a form of another site stores nothing.

        Raises:
            HTTPForbidden: the form was not made for this visitor.
            HTTPBadRequest: it has no file.
        """
        token = ""
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "csrf":
                token = await part.text()
            elif isinstance(part, BodyPartReader) and part.filename is not None:
                self._check(request, token)
                while piece := await part.read_chunk(PIECE):
                    yield piece
                return
        raise web.HTTPBadRequest(text="The form has no file.")

    def _check(self, request: web.Request, token: object) -> None:
        if self._has_passwords and "Authorization" in request.headers:
            return
        if not self._signer.verify_signature(request.cookies.get(_COOKIE, ""), str(token)):
            raise web.HTTPForbidden(text="The form has expired, or another site sent it. Load the page again.")
