"""What the pages show. Lists come from Temporal's visibility, as of a moment; a payment comes from the API."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client, WorkflowExecution

from examples.database import connection
from examples.payments.contracts import SERVICES, STAGE, STATUS

STATUSES: Final = ("pending", "processing", "success", "fail")
_PAGE: Final = 20


@dataclass(frozen=True)
class Row:
    """One payment in a list."""

    payment_id: str
    """Its id."""
    payment: Mapping[str, Any]
    """What was asked for."""
    status: str | None
    """As of the list's moment."""
    stage: str | None
    """As of the list's moment."""
    age_seconds: int
    """Since it was asked for."""


@dataclass(frozen=True)
class Listing:
    """One page of payments, the youngest first."""

    rows: list[Row]
    """The payments."""
    as_of: datetime
    """When Temporal was asked. A list may be some seconds behind the payments."""
    next_page: str | None
    """What leads to the next page; None: this is the last one."""


@dataclass(frozen=True)
class Queue:
    """A service's queue, as `delegator serve` measures it."""

    name: str
    """The service."""
    jobs: Mapping[str, int]
    """Number of jobs by state."""
    oldest_seconds: float
    """Age of the oldest job; 0: there is none."""
    dead_letters: int
    """Jobs that were given up."""


async def payments(client: Client, status: str | None, page: str | None) -> Listing:
    """Return a page of payments.

    Args:
        client: Temporal's client.
        status: only payments with this status; None: all.
        page: from the page before; None: the first page.

    Raises:
        RPCError: Temporal does not answer.
    """
    query = "WorkflowType = 'Payment'" + (f" AND {STATUS.name} = '{status}'" if status in STATUSES else "")
    listed = client.list_workflows(query, page_size=_PAGE, next_page_token=_token(page))
    await listed.fetch_next_page()
    now = datetime.now(UTC)
    rows = [await _row(execution, now) for execution in listed.current_page or ()]
    token = listed.next_page_token
    return Listing(rows, now, base64.urlsafe_b64encode(token).decode() if token else None)


async def ledger(payment_id: str) -> tuple[list[Any], list[Any], list[Any]]:
    """Return a payment's entries in the accounts' ledger, its messages, and its late callbacks.

    The page reads the services' tables, as a warehouse does. No service reads another's.
    """
    async with connection() as opened:
        entries = await opened.execute(
            "SELECT created_at, account_id, kind, amount FROM payments_account.entries"
            " WHERE payment_id = %s ORDER BY 1",
            (payment_id,),
        )
        messages = await opened.execute(
            "SELECT kept_at, sent_at, key, recipient FROM payments_notification.messages"
            " WHERE starts_with(key, %s) ORDER BY 1",
            (f"{payment_id}:",),
        )
        late = await opened.execute(
            "SELECT received_at, status FROM payments_orchestrator.late_callbacks WHERE payment_id = %s ORDER BY 1",
            (payment_id,),
        )
        return await entries.fetchall(), await messages.fetchall(), await late.fetchall()


async def queues(session: aiohttp.ClientSession, serve_url: str | None) -> list[Queue] | None:
    """Return the services' queues; None: `delegator serve` does not answer, or its address is not known."""
    if serve_url is None:
        return None
    try:
        async with session.get(f"{serve_url}/metrics") as response:
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
    jobs: dict[str, dict[str, int]] = {}
    oldest: dict[str, float] = {}
    dead: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            queue = sample.labels.get("queue", "")
            if sample.name == "delegator_queue_jobs":
                jobs.setdefault(queue, {})[sample.labels["state"]] = int(sample.value)
            elif sample.name == "delegator_queue_oldest_job_age_seconds":
                oldest[queue] = sample.value
            elif sample.name == "delegator_queue_dead_letters":
                dead[queue] = dead.get(queue, 0) + int(sample.value)
    return [Queue(one, jobs.get(one, {}), oldest.get(one, 0.0), dead.get(one, 0)) for one in SERVICES]


async def _row(execution: WorkflowExecution, now: datetime) -> Row:
    attributes = execution.typed_search_attributes
    return Row(
        payment_id=execution.id.removeprefix("payment-"),
        payment=(await execution.memo()).get("payment", {}),
        status=attributes.get(STATUS),
        stage=attributes.get(STAGE),
        age_seconds=int((now - execution.start_time).total_seconds()),
    )


def _token(page: str | None) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(page) if page else None
    except (binascii.Error, ValueError):
        return None
