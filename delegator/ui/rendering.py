"""Draws pages from templates. Every value is escaped."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from delegator.durations import short_duration
from delegator.ui import cells

_ASSETS: Final[dict[str, str]] = {"style.css": "text/css", "icon.svg": "image/svg+xml"}
_TITLES: Final = {
    400: "That does not work",
    401: "The token is missing",
    403: "That is not allowed",
    404: "There is no such page",
    405: "There is no such page",
    421: "This address has another name",
    503: "The database can't be read",
}


class Renderer:
    """The templates and the files beside them."""

    def __init__(self) -> None:
        """Read the files."""
        self._assets = {name: files("delegator.ui").joinpath(f"static/{name}").read_bytes() for name in _ASSETS}
        self._environment = Environment(
            loader=PackageLoader("delegator.ui"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            # The name changes with the content, so that browsers may keep it.
            "assets": {
                name: f"/static/{hashlib.sha256(content).hexdigest()[:12]}/{name}"
                for name, content in self._assets.items()
            },
            "url": cells.url,
        }
        self._environment.filters |= {"duration": cells.duration, "short": short_duration, "clock": _clock}

    def page(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Return a page.

        Args:
            template: its file.
            status: of HTTP.
            values: what the template names.
        """
        html = self._environment.get_template(template).render(**values)
        return web.Response(text=html, status=status, content_type="text/html")

    def error(self, request: web.Request, status: int, text: str) -> web.Response:
        """Return what says that something went wrong."""
        if wants_json(request):
            return web.json_response({"error": text}, status=status)
        title = _TITLES.get(status, "The page failed")
        return self.page("error.html", status=status, title=title, text=text)

    async def asset(self, request: web.Request) -> web.Response:
        """Answer with a file."""
        name = request.match_info["name"]
        if name not in self._assets:
            raise web.HTTPNotFound
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=self._assets[name], content_type=_ASSETS[name], headers=headers)


def wants_json(request: web.Request) -> bool:
    """Return whether a program asks."""
    return request.path.startswith("/api/")


def _clock(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
