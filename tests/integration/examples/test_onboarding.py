from __future__ import annotations

import asyncio
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, FormData
from playwright.async_api import Page, async_playwright
from temporalio.client import WorkflowHandle

from delegator.dev import RunningStack, StackOptions, embedded_stack
from examples.command import until
from examples.database import connection, fetch_value
from examples.local import Dispatch
from examples.logins import Login
from examples.onboarding.__main__ import Running, running_service
from examples.onboarding.contracts import Decision, Terms
from examples.onboarding.uploads import store
from examples.onboarding.workflow import Approval, ImportUsers
from tests.integration.examples.conftest import environment_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
USERS = "SELECT status, decided_by FROM onboarding.users WHERE import_id = %s ORDER BY line"


@pytest.fixture(scope="module")
async def running(servers: RunningStack) -> AsyncIterator[Running]:
    async with running_service() as running:
        yield running


def csv_of(count: int, bad: int = 0) -> bytes:
    """Return a file of users that no other test has."""
    run = uuid.uuid4().hex[:8]
    rows = [f"U{number} {run},1990-01-01,Oslo" for number in range(count)]
    return "\n".join(["name,born,city", *rows, *(["=cmd(),soon,Oslo"] * bad)]).encode()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]


async def state_of(import_id: str) -> object:
    return await fetch_value("SELECT state FROM onboarding.imports WHERE id = %s", import_id)


async def reached(import_id: str, state: str, seconds: float = 60) -> None:
    async def condition() -> bool:
        return await state_of(import_id) == state

    await until(f"the import is {state}", condition, seconds)


async def imported(running: Running, import_id: str) -> None:
    """Wait until an import has ended and its approval has begun."""
    counts = await running.system.client.get_workflow_handle(f"import-{import_id}").result()
    assert counts["state"] == "done"


async def users_of(import_id: str) -> Sequence[tuple[Any, ...]]:
    async with connection() as opened:
        return await (await opened.execute(USERS, (import_id,))).fetchall()


async def start_import(running: Running, data: bytes, terms: Terms) -> str:
    """Store a file as the service does, and start its import on other terms."""
    import_id, _ = await store(pieces(data), running.system.directory, running.people["maker1"].login)
    await running.system.client.start_workflow(
        ImportUsers.run, args=[import_id, terms], id=f"import-{import_id}", task_queue=running.task_queue
    )
    return import_id


def approval(running: Running, import_id: str) -> WorkflowHandle[Any, Any]:
    return running.system.client.get_workflow_handle(f"approval-{import_id}")


class Browser:
    """A person with a browser: follows links and sends the forms that a page has. It keeps cookies of IP addresses."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self.html = ""

    async def get(self, path: str) -> str:
        async with self._session.get(path, headers={"Accept": "text/html"}) as answer:
            self.html = await answer.text()
        return self.html

    def hidden(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]+)"', self.html)
        assert found is not None, self.html
        return found[1]

    async def post(self, path: str, **values: Any) -> int:
        fields = {"csrf": self.hidden("csrf"), **values} if "csrf" in self.html else values
        async with self._session.post(path, data=fields) as answer:
            self.html = await answer.text()
            return answer.status

    async def log_in(self, person: Login) -> None:
        await self.get("/login")
        assert await self.post("/login", login=person.login, password=person.password) == 200

    async def send(self, data: bytes, csrf: str) -> int:
        form = FormData({"csrf": csrf})
        form.add_field("file", data, filename="users.csv")
        async with self._session.post("/imports", data=form) as answer:
            self.html = await answer.text()
            return answer.status

    async def upload(self, data: bytes) -> str:
        assert await self.send(data, self.hidden("csrf")) == 200
        found = re.search(r"Import (\w+) has begun", self.html)
        assert found is not None, self.html
        return found[1]


@pytest.fixture
async def maker(running: Running) -> AsyncIterator[Browser]:
    async with ClientSession(running.url, cookie_jar=CookieJar(unsafe=True)) as session:
        browser = Browser(session)
        await browser.log_in(running.people["maker1"])
        yield browser


@pytest.fixture
async def checker(running: Running) -> AsyncIterator[Browser]:
    async with ClientSession(running.url, cookie_jar=CookieJar(unsafe=True)) as session:
        browser = Browser(session)
        await browser.log_in(running.people["checker1"])
        yield browser


@pytest.mark.parametrize("dispatch", list(Dispatch))
async def test_demo(run_command, servers: RunningStack, dispatch: Dispatch) -> None:
    ended = await run_command("onboarding", "--demo", "--dispatch", dispatch)
    assert (ended.code, ended.errors) == (0, "")
    assert len(ended.output.splitlines()) <= 25
    assert ended.output.count("proven: ") == 3


async def test_pages(running: Running, maker: Browser, checker: Browser) -> None:
    """A maker uploads and may not approve; a checker approves half and rejects the rest; the API says the same."""
    import_id = await maker.upload(csv_of(4) + b"\n<b>Eve</b>,1990-01-01,Oslo " + uuid.uuid4().hex.encode())
    await reached(import_id, "done")
    page = f"/imports/{import_id}/users"
    await maker.get(page)
    assert "checkbox" not in maker.html
    assert await maker.post(f"/imports/{import_id}/decisions", decision="x", verdict="approved", everyone="yes") == 403

    await checker.get(page)
    assert "&lt;b&gt;Eve" in checker.html and "<b>Eve" not in checker.html
    ids = re.findall(r'name="id" value="(\d+)"', checker.html)
    assert len(ids) == 5
    first = {"id": ids[:2], "decision": checker.hidden("decision"), "verdict": "approved"}
    before = checker.html
    assert await checker.post(f"/imports/{import_id}/decisions", csrf="stolen", **first) == 403
    for _ in range(2):  # a double click sends one decision twice
        checker.html = before
        assert await checker.post(f"/imports/{import_id}/decisions", **first) == 200
        assert "2 approved, 0 decided before" in checker.html
    rest = {"everyone": "yes", "decision": checker.hidden("decision"), "verdict": "rejected", "reason": "enough"}
    await checker.post(f"/imports/{import_id}/decisions", **rest)
    assert "3 rejected" in checker.html
    assert await approval(running, import_id).result() == "decided"
    login = running.people["checker1"].login
    assert sorted(await users_of(import_id)) == [("approved", login)] * 2 + [("rejected", login)] * 3
    async with ClientSession(running.url) as session:
        async with session.get("/users?approved=false", headers=running.people["maker2"].headers) as answer:
            assert import_id not in {user["import_id"] for user in await answer.json()}
        async with session.get(page, headers=running.people["maker2"].headers) as answer:
            assert "done: 5 rows, 0 bad, 0 duplicates" in await answer.text()
        for path in ("/", "/users", page):
            async with session.get(path) as answer:
                assert answer.status == 401, path


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
async def test_browser(running: Running) -> None:
    """In a browser without JavaScript a maker imports a file and takes its good rows; a checker decides about them."""
    data = csv_of(3, bad=1) + b"\n<b>Eve</b>,1990-01-01,Oslo " + uuid.uuid4().hex.encode()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(java_script_enabled=False, base_url=running.url)
        context.set_default_timeout(60_000)
        page = await context.new_page()
        await log_in(page, Login("nobody", "guess"))
        assert "Login or password is wrong" in await page.get_by_role("status").inner_text()
        await log_in(page, running.people["maker1"])
        file = page.get_by_label("CSV file")
        await file.set_input_files({"name": "users.csv", "mimeType": "text/csv", "buffer": data})
        await page.get_by_role("button", name="Import").click()
        found = re.search(r"Import (\w+) has begun", await page.get_by_role("status").inner_text())
        assert found is not None
        import_id = found[1]
        await reached(import_id, "waiting")
        await page.goto("/")
        await page.get_by_role("row", name=import_id).get_by_role("button", name="Take the good rows").click()
        await reached(import_id, "done")
        await page.goto(f"/imports/{import_id}/users")
        assert await page.get_by_role("checkbox").count() == 0, "who imported users may not approve them"
        await page.get_by_role("button", name="Log out").click()

        await log_in(page, running.people["checker1"])
        assert await page.get_by_label("CSV file").count() == 0, "a checker imports nothing"
        await page.get_by_role("link", name=import_id).click()
        await picture(page, "users")
        await page.get_by_label("<b>Eve</b>").check()
        await page.get_by_role("button", name="Approve").click()
        assert "1 approved, 0 decided before" in await page.get_by_role("status").inner_text()
        await page.get_by_label("all that wait").check()
        await page.get_by_label("Reason").fill("<i>enough</i>")
        await page.get_by_role("button", name="Reject").click()
        assert "3 rejected" in await page.get_by_role("status").inner_text()
        rows = await page.get_by_role("row").all_inner_texts()
        assert sum("<i>enough</i>" in row and "rejected" in row for row in rows) == 3
        assert all(running.people["checker1"].login in row for row in rows[1:])
        assert all(re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d", row) for row in rows[1:]), "the page says when"
        for role in ("checkbox", "textbox"):
            assert await page.get_by_role(role).count() == 0, "nothing is left to decide"  # type: ignore[arg-type]
        await picture(page, "decided")
        await page.get_by_role("button", name="Log out").click()
        await page.goto(f"/imports/{import_id}/users")
        assert await page.get_by_role("button", name="Log in").count() == 1
        await browser.close()
    assert await approval(running, import_id).result() == "decided"


async def log_in(page: Page, person: Login) -> None:
    await page.goto("/login")
    await page.get_by_label("Login").fill(person.login)
    await page.get_by_label("Password").fill(person.password)
    await page.get_by_role("button", name="Log in").click()


async def picture(page: Page, name: str) -> None:
    """Keep a picture of a page, for a person who asks for it."""
    if directory := os.environ.get("DELEGATOR_TEST_PICTURES"):
        await page.screenshot(path=f"{directory}/{name}.png", full_page=True)


async def test_two_checkers(running: Running) -> None:
    """Two checkers decide about the same users at once: each user has one decision, and the other one is told."""
    import_id = await start_import(running, csv_of(5), Terms())
    await imported(running, import_id)
    ids = await fetch_value("SELECT array_agg(id) FROM onboarding.users WHERE import_id = %s", import_id)
    assert isinstance(ids, list)

    async def decide(person: str, verdict: str) -> str:
        body = "\n".join(str(number) for number in ids)
        async with (
            ClientSession(running.url) as session,
            session.post(f"/users?verdict={verdict}", data=body, headers=running.people[person].headers) as answer,
        ):
            return (await answer.json())["decided"][0]

    said = await asyncio.gather(decide("checker1", "approved"), decide("checker2", "rejected"))
    assert sorted(text[0] for text in said) == ["0", "5"]
    assert any("5 decided before" in text for text in said)
    assert len(set(await users_of(import_id))) == 1
    await approval(running, import_id).result()
    # After the end a decision starts a run that finds nothing to do.
    assert (await decide("checker1", "approved")).startswith("0 approved, 5 decided before")
    assert await approval(running, import_id).result() == "nothing to decide"


async def test_same_file(running: Running) -> None:
    """The same bytes, or the same key, are the same import. Its duplicates in another file are no new users."""
    data = csv_of(3)
    async with ClientSession(running.url) as session:

        async def post(data: bytes, **headers: str) -> tuple[int, str]:
            async with session.post(
                "/imports", data=data, headers=headers | running.people["maker1"].headers
            ) as answer:
                return answer.status, (await answer.json())["id"]

        key = uuid.uuid4().hex
        status, import_id = await post(data, **{"Idempotency-Key": key})
        assert status == 201
        assert await post(data) == (200, import_id)
        assert await post(b"other", **{"Idempotency-Key": key}) == (200, import_id)
        await reached(import_id, "done")
        _, second = await post(data + b"\n")
        await reached(second, "done")
        assert await users_of(second) == []
        async with session.get(f"/imports/{second}/problems.csv", headers=running.people["maker1"].headers) as answer:
            assert (await answer.text()).count("duplicate") == 3
        _, refused = await post(b"name,city\n" + key.encode())
        await reached(refused, "refused")
        async with session.get(f"/imports/{refused}/users", headers=running.people["maker1"].headers) as answer:
            assert "the header lacks born" in await answer.text()


async def test_start_again(running: Running) -> None:
    """A service died after it had stored a file, and before it started the import: the next upload starts it."""
    data, maker = csv_of(2), running.people["maker1"]
    import_id, _ = await store(pieces(data), running.system.directory, maker.login)
    async with (
        ClientSession(running.url, headers=maker.headers) as session,
        session.post("/imports", data=data) as answer,
    ):
        assert (answer.status, await answer.json()) == (200, {"id": import_id})
    await imported(running, import_id)
    assert not (running.system.directory / import_id).exists(), "who has ended needs no file"


async def test_stolen_form(running: Running, maker: Browser) -> None:
    """A file whose form another site has made is not kept."""
    before = await fetch_value("SELECT count(*) FROM onboarding.imports")
    assert await maker.send(csv_of(1), "stolen") == 403
    assert await fetch_value("SELECT count(*) FROM onboarding.imports") == before


async def test_early_decision(running: Running, maker: Browser, checker: Browser) -> None:
    """A decision that comes while the import waits for its maker is kept, and applied when the import has ended."""
    import_id = await maker.upload(csv_of(2, bad=1))
    await reached(import_id, "waiting")
    decision = Decision(uuid.uuid4().hex, import_id, running.people["checker1"].login, "approved", everyone=True)
    handle = await running.system.client.start_workflow(
        Approval.run,
        args=[import_id, Terms(), False, None],
        id=f"approval-{import_id}",
        task_queue=running.task_queue,
        start_signal="decide",
        start_signal_args=[decision],
    )
    await maker.get("/")
    await maker.post(f"/imports/{import_id}/answer", answer="accept")
    assert await handle.result() == "decided"
    assert [status for status, _ in await users_of(import_id)] == ["approved"] * 2
    problems = await maker.get(f"/imports/{import_id}/problems.csv")
    assert "'=cmd(),soon,Oslo" in problems, "a spreadsheet must not take it for a formula"


async def test_reminder_and_expiry(running: Running) -> None:
    """Checkers are reminded by mail, and at the end the system rejects who is left."""
    import_id = await start_import(running, csv_of(2), Terms(reminder_seconds=1, expires_seconds=2))
    await imported(running, import_id)
    assert await approval(running, import_id).result() == "expired"
    assert await users_of(import_id) == [("rejected", "system")] * 2
    addresses = [f"{running.people[name].login}@example.org" for name in ("checker1", "checker2")]
    async with connection() as opened:
        mails = await opened.execute(
            "SELECT recipient, message_id FROM mailbox.mails WHERE body LIKE %s AND recipient = ANY (%s)",
            (f"%{import_id}%", addresses),
        )
        found = await mails.fetchall()
    assert sorted(recipient for recipient, _ in found) == sorted(addresses)
    assert len({message_id for _, message_id in found}) == 2


async def test_continue_as_new(running: Running) -> None:
    """Of many decisions none is lost over the runs of an approval."""
    import_id = await start_import(running, csv_of(30), Terms(most_decisions=4))
    await imported(running, import_id)
    ids = await fetch_value("SELECT array_agg(id) FROM onboarding.users WHERE import_id = %s", import_id)
    assert isinstance(ids, list)
    handle = approval(running, import_id)
    who = running.people["checker1"].login
    decisions = [Decision(uuid.uuid4().hex, import_id, who, "approved", [number]) for number in ids]
    await asyncio.gather(*(handle.signal(Approval.decide, decision) for decision in decisions))
    assert await handle.result() == "decided"
    assert [status for status, _ in await users_of(import_id)] == ["approved"] * 30
    runs = [run async for run in running.system.client.list_workflows(f"WorkflowId = '{handle.id}'")]
    assert len(runs) > 5


async def test_killed_pool(running: Running) -> None:
    """The pool is killed in the middle of 50,000 rows: each row is stored once, in memory that stays small."""
    pool = running.system.pools["default"]
    import_id = await start_import(running, csv_of(50_000), Terms())
    count = "SELECT count(*) > 3000 FROM onboarding.import_rows WHERE import_id = %s"

    async def has_rows() -> bool:
        return bool(await fetch_value(count, import_id))

    await until("rows are stored", has_rows)
    await pool.kill()
    await pool.start()
    before = memory_kib(pool.pid)
    await reached(import_id, "done", 100)  # so much work, on a machine that is busy with other things
    assert memory_kib(pool.pid) - before < 100 * 1024
    totals = "SELECT count(*), count(DISTINCT line) FROM onboarding.users WHERE import_id = %s"
    async with connection() as opened:
        assert await (await opened.execute(totals, (import_id,))).fetchone() == (50_000, 50_000)


async def test_restart() -> None:
    """Temporal, PostgreSQL, the pool and the service start again while an approval waits: it goes on."""
    options = StackOptions(headless=True, usual_ports=False, temporal_file=True)
    async with embedded_stack(options) as stack:
        with environment_of(stack):
            async with running_service() as running:
                import_id = await start_import(running, csv_of(2), Terms())
                await imported(running, import_id)
                programs = [running.system.services["service"], running.system.pools["default"]]
                await asyncio.gather(*(program.kill() for program in programs))
                await stack.restart("postgres")
                await stack.restart("temporal")
                await asyncio.gather(*(program.start() for program in programs))
                ids = await fetch_value("SELECT array_agg(id) FROM onboarding.users WHERE import_id = %s", import_id)
                assert isinstance(ids, list)
                body, checker = "\n".join(map(str, ids)), running.people["checker1"].headers
                async with (
                    ClientSession(running.url, headers=checker) as session,
                    session.post("/users", data=body) as answer,
                ):
                    assert answer.status == 202
                assert await approval(running, import_id).result() == "decided"
                assert [status for status, _ in await users_of(import_id)] == ["approved"] * 2


def memory_kib(pid: int | None) -> int:
    """Return the most memory that a process has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])
