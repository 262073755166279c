"""What the services share: the messages, and the jobs that each service promises to run.

It imports nothing heavy, so that workflow code, the API and every service can have it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from temporalio.common import SearchAttributeKey

from delegator import contract

ACCOUNT: Final = "account"
GATEWAY: Final = "gateway"
FRAUD: Final = "fraud"
NOTIFICATION: Final = "notification"
SERVICES: Final = (ACCOUNT, GATEWAY, FRAUD, NOTIFICATION)
"""Each service's queue. With classic dispatch a task queue has the same name."""
TASK_QUEUE: Final = "payments"
"""The task queue of the workflows."""
ATTEMPT: Final = timedelta(seconds=15)
"""Longest run of one attempt of any job."""

Status = Literal["pending", "processing", "success", "fail"]
STATUS: Final = SearchAttributeKey.for_keyword("PaymentStatus")
STAGE: Final = SearchAttributeKey.for_keyword("PaymentStage")

# The types of errors that are answers of a service, not faults: nothing is tried again.
INSUFFICIENT_FUNDS: Final = "InsufficientFunds"
DEBIT_REFUSED: Final = "DebitRefused"
DECLINED: Final = "Declined"
LIMIT_REACHED: Final = "LimitReached"


@dataclass(frozen=True)
class Payment:
    """What a user asks for."""

    payment_id: str
    user_id: str
    amount: int
    """In minor units of the currency."""
    currency: str
    """ISO 4217 code."""
    method: str
    """card, bank or wallet."""


def payment_id_of(user: str, key: str) -> str:
    """Return the id of the payment that a user asks for with an idempotency key."""
    return hashlib.sha256(json.dumps([user, key]).encode()).hexdigest()[:32]


def workflow_id(payment_id: str) -> str:
    """Return the id of a payment's workflow."""
    return f"payment-{payment_id}"


@dataclass(frozen=True)
class Times:
    """How long a payment waits for something, in seconds. A test need not wait for minutes."""

    charge_deadline: float = 120
    """For the provider to accept the charge, all attempts together."""
    callback_timeout: float = 300
    """For the provider's callback, from the accepted charge on."""
    review_timeout: float = 600
    """For a person's verdict."""
    person_after: int = 5
    """Not a time: failed attempts of a job that must succeed, after which a person is asked to look."""


@dataclass(frozen=True)
class Validation:
    """Whether an account may pay, and how its user is reached."""

    reason: str | None = None
    """Why it may not; None: it may."""
    email: str | None = None
    """None: there is no such account."""
    phone: str | None = None


@dataclass(frozen=True)
class Score:
    """What the fraud check says."""

    verdict: Literal["pass", "fail", "review"]
    """`review`: a person decides."""
    why: str


@dataclass(frozen=True)
class Review:
    """A person's decision about a payment."""

    payment_id: str
    verdict: Literal["pass", "fail"]
    reviewer: str


@dataclass(frozen=True)
class Notice:
    """A message to a user about a final outcome."""

    key: str
    """`<payment_id>:<outcome>:<channel>`: a user gets one message for each."""
    recipient: str
    """Mail address or phone number."""
    subject: str
    text: str


@dataclass(frozen=True)
class Moment:
    """One line of a payment's timeline."""

    at: str
    """ISO 8601, by the workflow's clock."""
    what: str


@dataclass
class State:
    """What the query `state` answers. The workflow returns it at its end."""

    payment: Payment
    status: Status = "pending"
    """pending until the account is validated, processing until the outcome is final."""
    stage: str = "validating"
    reason: str | None = None
    """Why it failed, or is about to fail."""
    fraud: str = "not begun"
    """not begun, running, review, pass, fail or cancelled."""
    callback: str | None = None
    """The first final callback: captured or declined. It counts."""
    other_callbacks: list[str] = field(default_factory=list)
    """All others: repetitions, contradictions, late ones."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Failed attempts by job type."""
    last_error: str | None = None
    compensated: list[str] = field(default_factory=list)
    """Compensations that are done, in order."""
    needs_person: list[str] = field(default_factory=list)
    """Jobs that do not succeed by themselves: a person retries or resolves them."""
    notified: bool | None = None
    """Whether the user was told the outcome; None: not tried yet."""
    timeline: list[Moment] = field(default_factory=list)


@contract(queue=ACCOUNT)
async def validate(payment: Payment) -> Validation:
    """Say whether the account exists, is active and may pay."""
    raise NotImplementedError


@contract(queue=ACCOUNT)
async def debit(payment: Payment) -> None:
    """Take the amount from the account, once."""


@contract(queue=ACCOUNT)
async def credit(payment: Payment) -> None:
    """Give back what `debit` took, once. A debit that comes later is refused."""


@contract(queue=ACCOUNT)
async def check_daily_limit(payment: Payment) -> None:
    """Refuse a payment that exceeds the account's limit of a day. Version 2 of the workflow asks for it."""


@contract(queue=GATEWAY)
async def charge(payment: Payment) -> None:
    """Have the provider accept the charge. Its callback says later whether the money was captured."""


@contract(queue=GATEWAY)
async def void(payment: Payment) -> None:
    """Have the provider give the money back. A charge that comes later is refused."""


@contract(queue=FRAUD)
async def score(payment: Payment) -> Score:
    """Judge a payment."""
    raise NotImplementedError


@contract(queue=FRAUD)
async def record_review(review: Review) -> None:
    """Keep who decided what."""


@contract(queue=NOTIFICATION)
async def send_email(notice: Notice) -> None:
    """Send a mail, once for each key."""


@contract(queue=NOTIFICATION)
async def send_sms(notice: Notice) -> None:
    """Send a text message, once for each key."""


CONTRACTS: Final = (
    *(validate, debit, credit, check_daily_limit),
    *(charge, void),
    *(score, record_review),
    *(send_email, send_sms),
)
