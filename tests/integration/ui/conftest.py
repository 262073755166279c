"""A page beside a whole engine, and people who look at it: by HTTP, and in Chromium without JavaScript."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from temporalio.converter import DataConverter

from delegator.config import Settings
from delegator.dev.temporal import TemporalServer
from delegator.runtime.tokens import Tokens
from delegator.ui.options import UiOptions
from delegator.ui.service import running_ui
from tests.integration.operating.conftest import Operator, running_operator
from tests.support import Databases

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "a-token-of-the-test"
_PICTURES = Path(__file__).parents[3] / "docs" / "pictures"
_PROOF = re.compile(r'name="proof" value="([0-9a-f]+)"')


@dataclass(frozen=True)
class Visitor:
    """A program that uses the page as a browser does."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        async with self.session.get(self.url + path, **options) as response:
            return response.status, await response.text()

    async def json(self, path: str) -> Any:
        async with self.session.get(self.url + path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def post(self, path: str, **fields: str) -> tuple[int, str]:
        async with self.session.post(self.url + path, data=fields) as response:
            return response.status, await response.text()

    async def log_in(self, name: str = "Ada", token: str = TOKEN) -> int:
        status, _ = await self.post("/login", token=token, name=name)
        return status

    async def proof(self) -> str:
        """What the forms of this login carry."""
        found = _PROOF.search((await self.get("/"))[1])
        assert found is not None
        return found[1]


def options(**given: Any) -> UiOptions:
    return UiOptions(**{"tokens": Tokens([TOKEN]), "converter": DataConverter.default, "port": 0, **given})


@asynccontextmanager
async def visited(settings: Settings, **given: Any) -> AsyncIterator[Visitor]:
    """Run a page, and visit it."""
    async with (
        running_ui(options(**given), settings) as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        yield Visitor(url, session)


@pytest.fixture(scope="package")
async def operator(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Operator]:
    async with running_operator(databases, temporal) as running:
        yield running


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        await launched.close()


@asynccontextmanager
async def person(browser: Browser, url: str, **context: Any) -> AsyncIterator[Page]:
    """Open a browser window on the page, without JavaScript, and log in."""
    opened: BrowserContext = await browser.new_context(
        **{"java_script_enabled": False, "base_url": url, "viewport": {"width": 1280, "height": 900}, **context}
    )
    opened.set_default_timeout(60_000)
    page = await opened.new_page()
    await page.goto("/")
    if await page.get_by_label("Token").count():
        await page.get_by_label("Your name").fill("Ada")
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Log in").click()
    yield page
    await opened.close()


async def picture(page: Page, name: str) -> None:
    """Keep a picture of a page for the documentation, if it is asked for."""
    if os.environ.get("DELEGATOR_TEST_PICTURES"):
        await page.screenshot(path=_PICTURES / f"{name}.png", full_page=True)
