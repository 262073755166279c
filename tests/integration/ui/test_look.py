"""Every page with 100,000 jobs in the table: for screen readers, on a narrow screen, in the dark, and small."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.integration.ui.conftest import Visitor, person, visited
from tests.integration.ui.crowd import PATHS, crowd
from tests.support import Databases

IN_THE_DARK = ("overview", "jobs", "job", "login")
"""They have every colour."""
MOST_BYTES = 120_000
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
COLOURS = "{runOnly: ['color-contrast']}"


@pytest.fixture(scope="module")
async def visitor(databases: Databases) -> AsyncIterator[Visitor]:
    async with databases.fresh() as database:
        await crowd(database)
        async with visited(database.settings) as made:
            yield made


async def findings(page: Page, rules: str) -> list[str]:
    """What axe finds, each with the element."""
    found = await page.evaluate(f"axe.run({rules})")
    return [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]


async def test_every_page(browser: Browser, visitor: Visitor) -> None:
    """On no page axe finds anything, dark or light, wide or narrow; nothing is wider than 320 px.

    Scripts are allowed here for axe. The page's own policy would refuse it, so the browser ignores that.
    """
    async with person(browser, visitor.url, java_script_enabled=True, bypass_csp=True) as page:
        for name, path in PATHS.items():
            await page.set_viewport_size({"width": 1280, "height": 900})
            await page.emulate_media(color_scheme="light")
            await page.goto(path)
            await page.evaluate(AXE)
            found = await findings(page, "{}")
            await look(page, f"{name}-wide")
            if name in IN_THE_DARK:
                await page.emulate_media(color_scheme="dark")
                found += await findings(page, COLOURS)
                await look(page, f"{name}-wide-dark")
            await page.set_viewport_size({"width": 320, "height": 700})
            assert (found, await page.evaluate("document.documentElement.scrollWidth <= 320")) == ([], True), name
            await look(page, f"{name}-narrow")


async def test_sizes(visitor: Visitor) -> None:
    """Each page is small, with its style and its icon."""
    assert await visitor.log_in() == 200
    for path in (*PATHS.values(), "/jobs", "/jobs?state=backing_off", "/dead-letters"):
        _, html = await visitor.get(path)
        assets = [(await visitor.get(asset))[1] for asset in re.findall(r'"(/static/[^"]+)"', html)]
        assert len(assets) == 2
        assert sum(map(len, (html, *assets))) < MOST_BYTES, path


async def look(page: Page, name: str) -> None:
    """Keep a picture for a person who asks for it."""
    if directory := os.environ.get("DELEGATOR_TEST_LOOK"):
        await page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)
