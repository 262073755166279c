"""Lighthouse's opinion of every page with 100,000 jobs in the table: `make lighthouse`.

It fails unless each page has 100 of 100 for accessibility and for best practices, on a wide screen and on a phone.
Performance is printed only, because it depends on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from temporalio.converter import DataConverter

from delegator.dev import StackOptions, embedded_stack
from delegator.runtime.tokens import Tokens
from delegator.ui.options import UiOptions
from delegator.ui.service import running_ui
from delegator.ui.sessions import COOKIE
from tests.integration.ui.crowd import PATHS, crowd
from tests.support import Databases

PROGRAM: Final = Path(".tools/lighthouse/node_modules/.bin/lighthouse")
TOKEN: Final = "a-token-of-the-test"
WANTED: Final = ("accessibility", "best-practices")
PAGES: Final = {name: path for name, path in PATHS.items() if name != "none"}
"""Lighthouse looks at no answer with status 404."""
SCREENS: Final[Mapping[str, tuple[str, ...]]] = {"phone": (), "desktop": ("--preset=desktop",)}


@dataclass(frozen=True)
class Verdict:
    """What Lighthouse says of a page."""

    scores: Mapping[str, int]
    """Of 100, by category."""
    findings: tuple[str, ...]
    """What costs points in the wanted categories."""

    @property
    def is_good(self) -> bool:
        return all(self.scores[category] == 100 for category in WANTED)


async def ask(chromium: str, url: str, cookie: str | None, *screen: str) -> Verdict:
    """Let Lighthouse look at a page.

    Args:
        chromium: the browser.
        url: of the page.
        cookie: of the login; None: nobody has logged in.
        screen: options that choose it.
    """
    headers = json.dumps({} if cookie is None else {"Cookie": f"{COOKIE}={cookie}"})
    process = await asyncio.create_subprocess_exec(
        *(str(PROGRAM), url, "--quiet", "--output=json", "--no-enable-error-reporting", *screen),
        *(f"--extra-headers={headers}", "--chrome-flags=--headless=new --no-sandbox"),
        f"--only-categories={','.join((*WANTED, 'performance'))}",
        env={**os.environ, "CHROME_PATH": chromium},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    if process.returncode:
        sys.exit(f"lighthouse ended with exit code {process.returncode} at {url}")
    report = json.loads(out)
    if report["finalDisplayedUrl"] != url:
        sys.exit(f"{url} led to {report['finalDisplayedUrl']}")
    scores = {name: round(100 * one["score"]) for name, one in report["categories"].items()}
    lacking = [
        report["audits"][ref["id"]]
        for name in WANTED
        for ref in report["categories"][name]["auditRefs"]
        if ref["weight"] and report["audits"][ref["id"]]["score"] not in (None, 1)
    ]
    return Verdict(scores, tuple(finding(audit) for audit in lacking))


def finding(audit: Mapping[str, Any]) -> str:
    """Describe what an audit found, with the first elements."""
    items = (audit.get("details") or {}).get("items", [])
    places = [item["node"]["snippet"] if "node" in item else json.dumps(item)[:200] for item in items[:3]]
    return "\n      ".join((f"{audit['id']}: {audit['title']}", *places))


async def run(chromium: str, names: list[str]) -> bool:
    """Look at pages, and return whether all are good."""
    good = True
    async with (
        embedded_stack(StackOptions(headless=True, usual_ports=False, programs=())) as stack,
        Databases(stack.postgres).fresh() as database,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        await crowd(database)
        options = UiOptions(tokens=Tokens([TOKEN]), converter=DataConverter.default, port=0)
        async with running_ui(options, database.settings) as url:
            async with session.post(f"{url}/login", data={"token": TOKEN, "name": "Ada"}) as answer:
                answer.raise_for_status()
            cookie = session.cookie_jar.filter_cookies(answer.url)[COOKIE].value
            for name in names:
                for screen, chosen in SCREENS.items():
                    verdict = await ask(chromium, url + PAGES[name], None if name == "login" else cookie, *chosen)
                    good &= verdict.is_good
                    scores = ", ".join(f"{category} {score}" for category, score in verdict.scores.items())
                    print(f"{name:<10} {screen:<8} {scores}", *verdict.findings, sep="\n    ", flush=True)
    return good


def main() -> int:
    """Run it. Return the exit code."""
    parser = argparse.ArgumentParser(prog="make lighthouse")
    parser.add_argument("pages", nargs="*", default=list(PAGES), help=f"some of: {', '.join(PAGES)}")
    names = parser.parse_args().pages
    if unknown := set(names) - set(PAGES):
        parser.error(f"no page {', '.join(unknown)}; there are {', '.join(PAGES)}")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("no Chromium on PATH (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder  # Chromium's profiles
        return 0 if asyncio.run(run(chromium, names)) else 1


if __name__ == "__main__":
    sys.exit(main())
