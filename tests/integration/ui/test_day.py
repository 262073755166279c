"""An operator's day on the real stack, by page, in a browser without JavaScript."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect
from temporalio.client import WorkflowFailureError

from tests.integration.delegator.environment import HttpWorker, eventually
from tests.integration.operating.conftest import Operator
from tests.integration.ui.conftest import person, picture, visited


@pytest.fixture(scope="module")
async def page(operator: Operator, browser: Browser) -> AsyncIterator[Page]:
    async with visited(operator.engine.settings) as visitor, person(browser, visitor.url) as opened:
        yield opened


async def shows(page: Page, path: str, text: str) -> None:
    """Load a page again until it shows a text."""

    async def is_shown() -> bool:
        await page.goto(path)
        return text in await page.locator("main").inner_text()

    await eventually(is_shown)


async def test_stuck_workflow(operator: Operator, page: Page) -> None:
    """Find a stuck workflow's job by the workflow's id, see why it waits, and cancel it; drain the queue."""
    handle = await operator.buy("greet")
    await operator.job(handle, reason="no_worker")
    await page.goto("/jobs")
    await page.get_by_label("Workflow id").fill(handle.id)
    await page.get_by_role("button", name="Filter").click()
    await page.get_by_role("table").get_by_role("row").nth(1).get_by_role("link").first.click()
    await expect(page.locator("main")).to_contain_text("No live worker serves queue default.")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Cancel: 1 job").click()
    await expect(page.get_by_role("status")).to_contain_text("1 job canceled")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    await page.goto("/drain?queue=default")
    await eventually(lambda: shown(page, "Drained"))


@pytest.fixture(scope="module")
async def worker(operator: Operator) -> AsyncIterator[HttpWorker]:
    async with operator.worker() as running:
        yield running


async def test_failing_type(operator: Operator, worker: HttpWorker, page: Page) -> None:
    """Find the type that fails, see why, pause it, ship the fix, retry now, resume; the deadline is kept."""
    handles = [await operator.buy("charge", str(amount)) for amount in (1, 2)]
    for handle in handles:
        await operator.job(handle, state="backing_off")
    await shows(page, "/", "type charge fails: 2 jobs back off, with BankUnreachable")
    await picture(page, "ui-overview")
    await page.get_by_role("link", name="Problems").click()
    row = page.get_by_role("row").filter(has_text="backing off")
    await expect(row).to_contain_text("Attempt 1 failed with BankUnreachable.")
    await row.get_by_role("link", name="2").click()
    await expect(page.get_by_role("checkbox")).to_have_count(2)
    await page.get_by_role("table").get_by_role("link").first.click()
    events = await page.locator(".timeline strong").all_inner_texts()
    assert events == ["enqueued", "claimed", "failed"]
    await picture(page, "ui-job")
    await page.get_by_role("link", name="Queues and types").click()
    await page.get_by_role("row", name=re.compile("^charge")).get_by_role("link", name="Pause").click()
    await page.get_by_label("Why").fill("the bank is down <b>")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("status")).to_contain_text("Type charge in queue default is paused: 2 jobs wait")
    await expect(page.locator("main")).to_contain_text("by Ada@")
    await expect(page.locator("main")).to_contain_text("the bank is down <b>")
    (operator.engine.directory / "fixed").touch()
    await page.goto("/jobs?type=charge")
    await page.get_by_role("button", name="Try again all").click()
    await expect(page.get_by_role("heading", name="Try again now: 2 jobs")).to_be_visible()
    await page.get_by_role("button", name="Try again now: 2 jobs").click()
    await expect(page.get_by_role("status")).to_contain_text("2 jobs due now.")
    assert (await operator.job(handles[1]))["reason"] == "paused"
    await page.goto("/queues")
    await page.get_by_role("button", name="Resume type charge").click()
    await expect(page.get_by_role("status")).to_contain_text("goes on: 2 jobs free")
    assert [await operator.engine.result(handle) for handle in handles] == ["charged 1", "charged 2"]
    (operator.engine.directory / "fixed").unlink()


async def test_dead_letter(operator: Operator, worker: HttpWorker, page: Page) -> None:
    """Replay what was given up, after the fix; nothing is left of it."""
    handle = await operator.buy("refund", "7")
    with pytest.raises(WorkflowFailureError):
        await operator.engine.result(handle)
    await shows(page, f"/dead-letters?workflow_id={handle.id}", "CardRefused")
    await page.get_by_role("link", name=re.compile(r"^\d+$")).click()
    await expect(page.locator("main")).to_contain_text("Attempt 1 failed with CardRefused")
    assert "no such card" not in await page.content()
    await page.goto(f"/dead-letters?workflow_id={handle.id}")
    (operator.engine.directory / "fixed").touch()
    # For a few seconds the job's completed row keeps its id taken.
    await eventually(lambda: replayed(page))
    await eventually(lambda: is_there(operator.engine.directory / "refunded-7"))
    await page.goto(f"/dead-letters?workflow_id={handle.id}")
    await expect(page.locator("main")).to_contain_text("No such dead letters.")
    (operator.engine.directory / "fixed").unlink()


async def replayed(page: Page) -> bool:
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Replay …", exact=True).click()
    await page.get_by_role("button", name="Replay: 1 dead letter").click()
    return "1 dead letter replayed." in await page.get_by_role("status").inner_text()


async def is_there(path: Path) -> bool:
    return path.exists()


async def shown(page: Page, text: str) -> bool:
    await page.reload()
    return text in await page.locator("main").inner_text()
