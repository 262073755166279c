from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import os
import re
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from playwright.async_api import Page, async_playwright
from psycopg_pool import AsyncConnectionPool
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from delegator.dev import RunningStack, StackOptions, embedded_stack
from delegator.testing import run_handler
from examples.command import until
from examples.database import database
from examples.payments.account import tasks as account
from examples.payments.account.accounts import Account, open_accounts, total_balance
from examples.payments.books import Books
from examples.payments.client import ApiClient
from examples.payments.contracts import SERVICES, Payment, Times, payment_id_of, workflow_id
from examples.payments.orchestrator.temporal import Payments
from examples.payments.system import System, running_system
from tests.integration.examples.conftest import environment_of

LARGE = 1_000_000
MOST = 2**63 - 1
SetProvider = Callable[..., Awaitable[None]]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Shop:
    """A running system, and all payments that the tests asked for."""

    def __init__(self, system: System, api: ApiClient, client: Client, initial: int) -> None:
        self.system = system
        self.api = api
        self.client = client
        self.initial = initial
        self.payments: set[str] = set()
        self._numbers = itertools.count()

    async def payer(self, name: str = "user", **account: object) -> str:
        user = f"{name}-{next(self._numbers)}"
        opened = Account(user, **{"balance": 10_000, **account})  # type: ignore[arg-type]
        await open_accounts([opened])
        self.initial += opened.balance
        return user

    async def pay(self, user: str, amount: int = 100, key: str = "k", **times: float) -> str:
        """Ask for a payment by HTTP, or with times of its own as the API does it."""
        payment_id = payment_id_of(user, key)
        self.payments.add(payment_id)
        if times:
            payment = Payment(payment_id, user, amount, "EUR", "card")
            assert await Payments(self.client, Times(**times)).start(payment, None)  # type: ignore[arg-type]
        else:
            status, answer = await self.api.pay(user, amount, key)
            assert (status, answer["payment_id"]) == (202, payment_id)
        return payment_id

    async def books(self) -> Books:
        return await Books.read(self.system.provider_ledger)

    def callback(self, payment_id: str, status: str = "captured", secret: str | None = None) -> dict[str, object]:
        body = json.dumps({"payment_id": payment_id, "status": status}).encode()
        secret = secret or self.system.environment["PAYMENTS_CALLBACK_SECRET"]
        return {"data": body, "headers": {"X-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}}


@pytest.fixture(scope="module")
async def payments_stack() -> AsyncIterator[RunningStack]:
    options = StackOptions(headless=True, usual_ports=False, queues=("default", *SERVICES))
    async with embedded_stack(options) as stack:
        with environment_of(stack), pytest.MonkeyPatch.context() as patch:
            patch.setenv("PAYMENTS_SERVE_URL", stack.program_urls["serve"])
            patch.setenv("PAYMENTS_PATIENCE", "2")
            yield stack


@pytest.fixture(scope="module")
async def system(payments_stack: RunningStack) -> AsyncIterator[System]:
    async with running_system() as running:
        yield running


@pytest.fixture(scope="module")
async def shop(system: System, payments_stack: RunningStack) -> AsyncIterator[Shop]:
    async with ApiClient(system.url("api")) as api:
        client = await Client.connect(payments_stack.temporal_address)
        yield Shop(system, api, client, await total_balance())


@pytest.fixture
async def provider(system: System) -> AsyncIterator[SetProvider]:
    """Sets how the provider behaves to everybody; after the test it is up again."""
    yield system.provider
    await system.provider(mode="up", delay=[0, 0])


async def test_command(run_command, payments_stack: RunningStack) -> None:
    """The command plays its demonstration with ordinary activities; the other tests run with delegated ones."""
    ended = await run_command("payments", "--demo", "--dispatch", "classic")
    assert (ended.code, ended.errors) == (0, "")
    lines = ended.output.splitlines()
    assert len(lines) <= 25
    assert lines[-2:] == [
        "proven: ledger, provider and mailbox agree; no cent is lost",
        "proven: each user got one mail",
    ]


async def test_upgrade(run_command, payments_stack: RunningStack) -> None:
    """The demonstration of an upgrade holds with ordinary activities, too: its replay does what ran (BR-10)."""
    ended = await run_command("payments.upgrade", "--dispatch", "classic")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.splitlines()[-1] == "proven: all histories replay on version 2"


async def test_success(shop: Shop) -> None:
    """A payment is debited, captured and told, with less than 60 events and no ordinary activity (FR-1, FR-2)."""
    payment_id = await shop.pay(await shop.payer(phone="+1"))
    state = await shop.api.done(payment_id)
    assert (state["status"], state["fraud"], state["callback"]) == ("success", "pass", "captured")
    assert state["notified"] is True
    assert state["reason"] is None and state["compensated"] == [] and len(state["timeline"]) > 5
    events = (await shop.client.get_workflow_handle(workflow_id(payment_id)).fetch_history()).events
    assert len(events) < 60
    assert not any(event.HasField("activity_task_scheduled_event_attributes") for event in events)


async def test_idempotency_key(shop: Shop) -> None:
    """The same key and body give the same payment, another body is refused, and no key is a new payment (BR-1)."""
    user = await shop.payer()
    payment_id = await shop.pay(user)
    state = await shop.api.done(payment_id)
    status, answer = await shop.api.pay(user, 100, "k", wait=5)
    assert (status, answer["payment_id"], answer["status"]) == (200, payment_id, state["status"])
    assert (await shop.api.pay(user, 101, "k"))[0] == 409
    body = {"user_id": user, "amount": 5, "currency": "EUR", "method": "card"}
    answers = [await shop.api.request("POST", "/payments", json=body) for _ in range(2)]
    assert [status for status, _ in answers] == [202, 202]
    new = {answer["payment_id"] for _, answer in answers}
    assert len(new) == 2
    shop.payments |= new


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        (b"{", {}, 400, None),
        (b"[]", {}, 400, None),
        (b"[" * 100_000, {}, 413, None),
        (b'{"user_id": "a", "amount": 1.0, "currency": "EUR", "method": "card"}', {}, 422, "amount"),
        (b'{"user_id": "a", "amount": true, "currency": "EUR", "method": "card"}', {}, 422, "amount"),
        (b'{"user_id": "a", "amount": 1000000000000001, "currency": "EUR", "method": "card"}', {}, 422, "amount"),
        (b'{"user_id": "", "amount": 1, "currency": "EUR", "method": "card"}', {}, 422, "user_id"),
        (b'{"user_id": "a", "amount": 1, "currency": "eur", "method": "card"}', {}, 422, "currency"),
        (b'{"user_id": "a", "amount": 1, "currency": "EUR", "method": "cash"}', {}, 422, "method"),
        (b'{"user_id": "a", "amount": 1, "currency": "EUR", "method": "card", "x": 1}', {}, 422, "x"),
        (
            b'{"user_id": "a", "amount": 1, "currency": "EUR", "method": "card"}',
            {"Idempotency-Key": "k" * 101},
            422,
            "Idempotency-Key",
        ),
    ],
)
async def test_bad_request(shop: Shop, body: bytes, headers: dict[str, str], status: int, field: str | None) -> None:
    """A bad request is refused before anything is changed, and the answer names each wrong field (BR-1)."""
    answered, answer = await shop.api.request("POST", "/payments", data=body, headers=headers)
    assert answered == status
    if field is not None:
        assert list(answer["errors"]) == [field]


@pytest.mark.parametrize(
    ("terms", "changes", "reason"),
    [
        ({"active": False}, {}, "the account is not active"),
        ({"balance": 99}, {}, "insufficient funds"),
        ({"currency": "USD"}, {}, "the account is in USD"),
        ({"methods": ["bank"]}, {}, "the account does not allow card"),
        (None, {}, "there is no such account"),
    ],
    ids=["inactive", "poor", "currency", "method", "unknown"],
)
async def test_refused(shop: Shop, terms: dict[str, object] | None, changes: dict[str, object], reason: str) -> None:
    """An account that may not pay is refused within the request; nothing is debited, charged or checked (BR-2)."""
    user = "nobody" if terms is None else await shop.payer(**terms)
    status, answer = await shop.api.pay(user, 100, "k", wait=20)
    assert (status, answer["status"], answer["reason"]) == (202, "fail", reason)
    payment_id = answer["payment_id"]
    shop.payments.add(payment_id)
    await shop.api.done(payment_id)
    books = await shop.books()
    assert payment_id not in books.entries and payment_id not in books.charges
    assert books.mails[payment_id, "fail"] == (0 if terms is None else 1)
    with pytest.raises(RPCError, match="not found"):
        await shop.client.get_workflow_handle(f"fraud-{payment_id}").describe()


@pytest.fixture
async def pool(payments_stack: RunningStack) -> AsyncIterator[AsyncConnectionPool]:
    async with AsyncConnectionPool(payments_stack.database_url, open=False) as opened:
        yield opened


async def balance_of(pool: AsyncConnectionPool, user: str) -> int:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT balance FROM payments_account.accounts WHERE id = %s", (user,))
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_debit_once(shop: Shop, pool: AsyncConnectionPool) -> None:
    """Debit and credit count once, however often and however closely together they run (BR-3)."""
    payment = Payment(uuid.uuid4().hex, await shop.payer(), 100, "EUR", "card")
    debits = (run_handler(account.debit, payment, provide={database: pool}) for _ in range(8))
    await asyncio.gather(*debits)
    assert await balance_of(pool, payment.user_id) == 9_900
    await asyncio.gather(*(run_handler(account.credit, payment, provide={database: pool}) for _ in range(8)))
    assert await balance_of(pool, payment.user_id) == 10_000


async def test_late_debit(shop: Shop, pool: AsyncConnectionPool) -> None:
    """A debit that comes after its credit is refused (BR-3)."""
    payment = Payment(uuid.uuid4().hex, await shop.payer(), 100, "EUR", "card")
    await run_handler(account.credit, payment, provide={database: pool})
    with pytest.raises(ApplicationError, match="given up"):
        await run_handler(account.debit, payment, provide={database: pool})
    assert await balance_of(pool, payment.user_id) == 10_000


async def test_last_cent(shop: Shop, pool: AsyncConnectionPool) -> None:
    """Of many debits at once exactly as many succeed as the balance allows (BR-3)."""
    user = await shop.payer(balance=350)
    payments = [Payment(uuid.uuid4().hex, user, 100, "EUR", "card") for _ in range(10)]
    debits = (run_handler(account.debit, payment, provide={database: pool}) for payment in payments)
    answers = await asyncio.gather(*debits, return_exceptions=True)
    assert [str(answer) for answer in answers if answer is not None] == ["InsufficientFunds: insufficient funds"] * 7
    assert await balance_of(pool, user) == 50
    for payment in payments:
        await run_handler(account.credit, payment, provide={database: pool})
    assert await balance_of(pool, user) == 350


async def test_provider_retries(shop: Shop, provider: SetProvider) -> None:
    """While the provider answers 503, 429 or not at all, the charge is tried again, and the query shows it (BR-4)."""
    for mode, words in (("error", "503"), ("busy", "429"), ("refuse", "no answer"), ("lose", "no answer")):
        await provider(mode=mode)
        payment_id = await shop.pay(await shop.payer())

        async def failed(payment_id: str = payment_id, words: str = words) -> bool:
            state = await shop.api.state(payment_id)
            return bool(state["attempts"].get("charge")) and words in state["last_error"]

        await until(f"a failed attempt ({mode})", failed)
        await provider(mode="up")
        assert (await shop.api.done(payment_id))["status"] == "success"


async def test_declined(shop: Shop) -> None:
    """A declined charge is not tried again, and the money comes back (BR-4)."""
    user = await shop.payer()
    await shop.system.provider(user=user, outcome="refused")
    state = await shop.api.done(await shop.pay(user))
    assert (state["status"], state["reason"]) == ("fail", "the provider declined the charge")
    assert (state["attempts"], state["compensated"]) == ({}, ["void", "credit"])


async def test_charge_deadline(shop: Shop, provider: SetProvider) -> None:
    """A charge that the provider does not accept in time fails the payment (BR-4)."""
    await provider(mode="error")
    payment_id = await shop.pay(await shop.payer(), charge_deadline=1.5)
    await shop.api.until(payment_id, stage="compensating")
    await provider(mode="up")
    state = await shop.api.done(payment_id)
    assert (state["status"], state["callback"]) == ("fail", None)


@pytest.mark.parametrize("verdict", ["pass", "fail"])
async def test_review(shop: Shop, verdict: str) -> None:
    """A large amount waits for a person, whose verdict decides; the charge does not wait for it (BR-5, FR-4)."""
    payment_id = await shop.pay(await shop.payer(balance=LARGE), LARGE)
    await shop.api.until(payment_id, fraud="review", stage="waiting for the fraud check", callback="captured")
    bad = await shop.api.request("POST", f"/fraud/{payment_id}", json={"verdict": "maybe", "reviewer": "r"})
    assert bad[0] == 422
    review = {"verdict": verdict, "reviewer": "rosa"}
    assert (await shop.api.request("POST", f"/fraud/{payment_id}", json=review))[0] == 202
    state = await shop.api.done(payment_id)
    assert (state["status"], state["reason"]) == (
        ("success", None) if verdict == "pass" else ("fail", "fraud: reviewed by rosa")
    )
    assert state["compensated"] == ([] if verdict == "pass" else ["void", "credit"])
    assert (await shop.api.request("POST", f"/fraud/{payment_id}", json=review))[0] == 409


async def test_review_timeout(shop: Shop) -> None:
    """A review that nobody makes in time fails the payment (BR-5, FR-6)."""
    state = await shop.api.done(await shop.pay(await shop.payer(balance=LARGE), LARGE, review_timeout=1))
    assert (state["status"], state["reason"]) == ("fail", "fraud: nobody reviewed it in time")


async def test_suspicious(shop: Shop, pool: AsyncConnectionPool) -> None:
    """A user on the watch list fails the check, whatever the payment does at that moment (BR-5)."""
    user = await shop.payer()
    await shop.system.provider(user=user, callback_after=3_600)
    async with pool.connection() as connection:
        await connection.execute("INSERT INTO payments_fraud.watched VALUES (%s, 'fail')", (user,))
    state = await shop.api.done(await shop.pay(user))
    assert (state["status"], state["reason"]) == ("fail", "fraud: the user is on the watch list")


async def test_no_callback(shop: Shop) -> None:
    """Without a callback the payment fails, the charge is voided and the money comes back (BR-6)."""
    user = await shop.payer()
    await shop.system.provider(user=user, silent_share=1)
    payment_id = await shop.pay(user, callback_timeout=1)
    state = await shop.api.done(payment_id)
    assert (state["reason"], state["compensated"]) == ("the provider did not call back in time", ["void", "credit"])
    assert (await shop.books()).charges[payment_id] == ("voided", 100)


@pytest.mark.parametrize(
    ("behaviour", "status", "others"),
    [
        ({"repeats": [3, 3]}, "success", ["captured", "captured"]),
        ({"contradicts": True}, "success", ["declined"]),
        ({"early_share": 1}, "success", []),
        ({"outcome": "declined"}, "fail", []),
    ],
    ids=["repeated", "contradicting", "early", "declined"],
)
async def test_callbacks(shop: Shop, behaviour: dict[str, object], status: str, others: list[str]) -> None:
    """The first final callback counts, whenever it comes; the others are kept (BR-6, FR-5)."""
    user = await shop.payer(balance=LARGE)
    await shop.system.provider(user=user, **behaviour)
    payment_id = await shop.pay(user, LARGE)  # waits for a review, so that every callback finds it open
    if status == "success":
        await shop.api.until(payment_id, fraud="review", other_callbacks=others, callback="captured")
        await shop.api.request("POST", f"/fraud/{payment_id}", json={"verdict": "pass", "reviewer": "r"})
    assert (await shop.api.done(payment_id))["status"] == status


async def test_odd_callbacks(shop: Shop, pool: AsyncConnectionPool) -> None:
    """A callback with a wrong signature, for an unknown payment, or after the end changes nothing (BR-6)."""
    payment_id = await shop.pay(await shop.payer())
    forged = shop.callback(payment_id, "declined", secret="guessed")
    assert (await shop.api.request("POST", "/gateway/callbacks", **forged))[0] == 401
    assert (await shop.api.request("POST", "/gateway/callbacks", **shop.callback("0" * 32)))[0] == 404
    assert (await shop.api.request("POST", "/gateway/callbacks", **shop.callback(payment_id, "lost")))[0] == 422
    await shop.client.get_workflow_handle(workflow_id(payment_id)).result()
    late = await shop.api.request("POST", "/gateway/callbacks", **shop.callback(payment_id, "declined"))
    assert late == (200, {"result": "too late"})
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT status FROM payments_orchestrator.late_callbacks WHERE payment_id = %s", (payment_id,)
        )
        assert await cursor.fetchall() == [("declined",)]
    assert (await shop.api.state(payment_id))["status"] == "success"


async def test_mail_refused(shop: Shop) -> None:
    """A mailbox that is gone does not change the outcome; a person resolves it (BR-7, FR-7)."""
    payment_id = await shop.pay(await shop.payer(email="unknown@example.com"))
    state = await shop.api.until(payment_id, needs_person=["send_email"])
    assert (state["status"], state["notified"]) == ("success", False)
    assert "550" in state["last_error"]
    assert (await shop.api.request("POST", f"/payments/{payment_id}/jobs/launder/retry"))[0] == 404
    assert (await shop.api.request("POST", f"/payments/{payment_id}/jobs/send_email/retry"))[0] == 202
    await until("the mail is refused again", lambda: refused_again(shop, payment_id))
    assert (await shop.api.request("POST", f"/payments/{payment_id}/jobs/send_email/resolve"))[0] == 202
    state = await shop.api.done(payment_id)
    assert (state["status"], state["notified"], state["needs_person"]) == ("success", False, [])


async def refused_again(shop: Shop, payment_id: str) -> bool:
    state = await shop.api.state(payment_id)
    asked = [moment for moment in state["timeline"] if moment["what"].startswith("a person must look at send_email")]
    return len(asked) == 2


async def test_mail_later(shop: Shop) -> None:
    """A mail server that is away is asked again until it takes the mail; there is one mail (BR-7)."""
    mails = shop.system.programs["mail"]
    await mails.kill()
    payment_id = await shop.pay(await shop.payer(), person_after=1)
    state = await shop.api.until(payment_id, needs_person=["send_email"])
    assert (state["status"], state["notified"], state["attempts"]["send_email"]) == ("success", False, 1)
    await mails.start()
    state = await shop.api.done(payment_id)
    assert (state["status"], state["notified"], state["needs_person"]) == ("success", True, [])
    assert (await shop.books()).copies[payment_id] == 1


async def test_unknown(shop: Shop) -> None:
    """An unknown payment is 404, whatever is asked (BR-8, FR-8)."""
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/jobs/credit/retry")):
        assert (await shop.api.request(method, f"/payments/unknown{path}"))[0] == 404


@pytest.mark.parametrize("how", ["api", "signal", "temporal"])
async def test_cancel_waiting(shop: Shop, how: str) -> None:
    """A payment that waits for its callback is cancelled: the charge is undone, then the debit (BR-9, FR-9)."""
    user = await shop.payer()
    await shop.system.provider(user=user, callback_after=3_600)
    payment_id = await shop.pay(user)
    await shop.api.until(payment_id, stage="waiting for the callback")
    handle = shop.client.get_workflow_handle(workflow_id(payment_id))
    if how == "api":
        assert (await shop.api.request("POST", f"/payments/{payment_id}/cancel"))[0] == 202
    elif how == "signal":
        await handle.signal("cancel")
    else:
        await handle.cancel()
        await handle.cancel()
    state = await shop.api.done(payment_id)
    assert (state["status"], state["reason"], state["compensated"]) == ("fail", "cancelled", ["void", "credit"])
    status, answer = await shop.api.request("POST", f"/payments/{payment_id}/cancel")
    assert (status, answer["status"]) == (409, "fail")


async def test_cancel_charging(shop: Shop, provider: SetProvider) -> None:
    """A charge that runs is awaited before it is undone, so nothing is captured after the void (BR-9)."""
    await provider(delay=[2, 2])
    payment_id = await shop.pay(await shop.payer())
    await shop.api.until(payment_id, stage="charging")
    assert (await shop.api.request("POST", f"/payments/{payment_id}/cancel"))[0] == 202
    await provider(delay=[0, 0])
    assert (await shop.api.done(payment_id))["compensated"] == ["void", "credit"]
    assert (await shop.books()).charges[payment_id][0] == "voided"


async def test_cancel_race(shop: Shop) -> None:
    """A cancellation that meets the callback ends in one outcome, and the money is where it says (BR-9)."""
    user = await shop.payer()
    payments = [await shop.pay(user, key=f"race-{number}") for number in range(12)]

    async def cancel(payment_id: str, delay: float) -> None:
        status = 503  # if the machine is so busy that the worker does not answer in time
        while status == 503:
            await asyncio.sleep(delay)
            status, answer = await shop.api.request("POST", f"/payments/{payment_id}/cancel")
        state = await shop.api.done(payment_id)
        assert state["status"] == ("fail" if status == 202 else answer["status"])

    await asyncio.gather(*(cancel(payment_id, 0.03 * number) for number, payment_id in enumerate(payments)))


async def test_full_account(shop: Shop, pool: AsyncConnectionPool) -> None:
    """A credit that can't succeed is tried on and asks for a person, who mends the account and retries (FR-7)."""
    user = await shop.payer()
    await shop.system.provider(user=user, callback_after=3_600)
    payment_id = await shop.pay(user, person_after=1)
    await shop.api.until(payment_id, stage="waiting for the callback")
    async with pool.connection() as connection:
        await connection.execute("UPDATE payments_account.accounts SET balance = %s WHERE id = %s", (MOST, user))
    await shop.api.request("POST", f"/payments/{payment_id}/cancel")
    state = await shop.api.until(payment_id, needs_person=["credit"])
    assert (state["status"], state["compensated"]) == ("processing", ["void"])
    assert "the account can't hold the amount" in state["last_error"]
    async with pool.connection() as connection:
        await connection.execute("UPDATE payments_account.accounts SET balance = 9900 WHERE id = %s", (user,))
    await shop.api.request("POST", f"/payments/{payment_id}/jobs/credit/retry")
    state = await shop.api.done(payment_id)
    assert (state["compensated"], state["needs_person"]) == (["void", "credit"], [])


async def test_killed(shop: Shop) -> None:
    """Pools and the worker are killed with payments in flight; all of them end, and the API says what it can (BR-8)."""
    user = await shop.payer()
    payments = [await shop.pay(user, key=f"kill-{number}") for number in range(5)]
    programs = shop.system.programs
    await asyncio.gather(*(programs[name].kill() for name in ("worker", "account", "gateway")))
    payments += [await shop.pay(user, key=f"kill-{number}") for number in range(5, 10)]
    state = await shop.api.state(payments[-1])
    assert (state["status"], state["payment"]["amount"]) == ("pending", 100)
    assert "no worker answers" in state["as_of"]
    status, _ = await shop.api.request("POST", f"/payments/{payments[-1]}/cancel")
    assert status == 503
    await asyncio.gather(*(programs[name].start() for name in ("worker", "account", "gateway")))
    states = [await shop.api.done(payment_id) for payment_id in payments]
    assert [state["status"] for state in states[:-1]] == ["success"] * 9


async def test_temporal_away(shop: Shop, payments_stack: RunningStack) -> None:
    """While Temporal is away the API says 503 and when to come back, and never shows a trace (BR-1, BR-8)."""
    pid = payments_stack.pid("temporal")
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.TaskGroup() as requests:
            asked = requests.create_task(shop.api.pay("nobody", 100, "away"))
            read = requests.create_task(shop.api.request("GET", "/payments/unknown"))
    finally:
        os.kill(pid, signal.SIGCONT)
    for status, answer in (asked.result(), read.result()):
        assert (status, answer) == (503, {"error": "the payments are not available now"})


async def test_forms(shop: Shop) -> None:
    """A form without this visitor's token is refused, and nothing of a user's text is taken for HTML."""
    name = "<script>alert(1)</script>"
    user = await shop.payer(name, balance=LARGE)
    payment_id = await shop.pay(user, LARGE)
    await shop.api.until(payment_id, fraud="review")
    pages = shop.system.url("reporting")
    async with aiohttp.ClientSession(pages, cookie_jar=aiohttp.CookieJar(unsafe=True)) as visitor:
        async with visitor.get(f"/payments/{payment_id}") as response:
            html = await response.text()
            assert "script" not in html.replace("&lt;script&gt;", "").replace("&lt;/script&gt;", "")
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        (token,) = set(re.findall(r'name="csrf" value="([\w-]+)"', html))
        for forged in ({}, {"csrf": "0" * 64}):
            async with visitor.post(f"/payments/{payment_id}/review", data={"how": "pass", **forged}) as response:
                assert response.status == 403
        async with aiohttp.ClientSession(pages) as stranger:
            data = {"how": "pass", "csrf": token}
            async with stranger.post(f"/payments/{payment_id}/review", data=data) as response:
                assert response.status == 403
        assert (await shop.api.state(payment_id))["fraud"] == "review"
        async with visitor.post(f"/payments/{payment_id}/review", data={"how": "fail", "csrf": token}) as response:
            assert response.status == 200 and "goes on with your decision" in await response.text()
    assert (await shop.api.done(payment_id))["reason"] == "fraud: reviewed by the page"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
async def test_browser(shop: Shop, payments_stack: RunningStack) -> None:
    """In a browser without JavaScript a person approves a payment, cancels another, and breaks the provider."""
    user = await shop.payer(balance=3 * LARGE)
    approved, cancelled = [await shop.pay(user, LARGE, key) for key in ("approved", "cancelled")]
    for payment_id in (approved, cancelled):
        await shop.api.until(payment_id, fraud="review", callback="captured")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(java_script_enabled=False, base_url=shop.system.url("reporting"))
        context.set_default_timeout(60_000)
        page = await context.new_page()
        await page.goto("/?status=processing")
        await page.get_by_role("link", name=approved[:12]).click()
        await page.get_by_role("button", name="Approve").click()
        await page.get_by_text("goes on with your decision").wait_for()
        await shop.api.done(approved)
        await page.goto(f"/payments/{approved}")
        assert await page.locator("h1 .status").inner_text() == "success"
        assert "debit" in await page.locator("main").inner_text()
        await picture(page, "payment")
        await page.goto(f"/payments/{cancelled}")
        await page.get_by_role("button", name="Cancel the payment").click()
        await shop.api.done(cancelled)
        await page.goto(f"/payments/{cancelled}")
        assert "undone" in await page.locator("dl").inner_text()
        assert await page.get_by_role("button").count() == 0
        await picture(page, "cancelled")
        await page.goto("/")
        await page.get_by_role("button", name="Break the provider").click()
        await page.get_by_role("button", name="Mend the provider").click()
        assert await page.get_by_role("button", name="Break the provider").count() == 1
        assert await page.get_by_role("row").count() > 20
        assert await page.get_by_role("row", name=re.compile("^gateway ")).count() == 1
        await picture(page, "list")
        await page.get_by_role("link", name="older payments").click()
        assert await page.get_by_role("row").count() > 5
        await page.goto("/payments/" + "0" * 32)
        assert "There is no such payment" in await page.locator("main").inner_text()
        await browser.close()


async def picture(page: Page, name: str) -> None:
    """Keep a picture of a page, for a person who asks for it."""
    if directory := os.environ.get("DELEGATOR_TEST_PICTURES"):
        await page.screenshot(path=f"{directory}/{name}.png", full_page=True)


async def test_books(shop: Shop) -> None:
    """After all of it the accounts, the provider and the mailbox agree on every payment."""
    states = {payment_id: await shop.api.done(payment_id) for payment_id in shop.payments}
    books = await shop.books()
    assert books.problems(states, shop.initial) == []
