"""What the pages show. Lists come from Temporal's visibility, as of a moment; a payment comes from the API."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final, get_args

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client

from examples.database import fetch_all
from examples.payments.contracts import SERVICES, STAGE, STATUS, Status

STATUSES: Final = get_args(Status)
_PAGE: Final = 20
# The page reads the services' tables, as a warehouse does. No service reads another's.
_ENTRIES = "SELECT created_at, account_id, kind, amount FROM payments_account.entries WHERE payment_id = %s ORDER BY 1"
_MESSAGES = "SELECT key, recipient, sent_at FROM outgoing.mails WHERE starts_with(key, %s || ':') ORDER BY 1"
_LATE = "SELECT received_at, status FROM payments_orchestrator.late_callbacks WHERE payment_id = %s ORDER BY 1"


async def payments(client: Client, status: str | None, page: bytes | None) -> dict[str, Any]:
    """Return the values of a page of payments, the youngest first.

    Args:
        client: Temporal's client.
        status: only payments with this status; None: all.
        page: `next_page` of the page before; None: the first page.

    Raises:
        RPCError: Temporal does not answer.
    """
    query = "WorkflowType = 'Payment'" + (f" AND {STATUS.name} = '{status}'" if status in STATUSES else "")
    listed = client.list_workflows(query, page_size=_PAGE, next_page_token=page)
    await listed.fetch_next_page()
    now = datetime.now(UTC)
    rows = [
        {
            "payment_id": execution.id.removeprefix("payment-"),
            "payment": (await execution.memo()).get("payment", {}),
            "status": execution.typed_search_attributes.get(STATUS),
            "stage": execution.typed_search_attributes.get(STAGE),
            "age_seconds": int((now - execution.start_time).total_seconds()),
        }
        for execution in listed.current_page or ()
    ]
    return {"rows": rows, "as_of": now, "next_page": (listed.next_page_token or b"").hex()}


async def ledger(payment_id: str) -> dict[str, Any]:
    """Return a payment's entries in the accounts' ledger, its messages, and its late callbacks."""
    queries = {"entries": _ENTRIES, "messages": _MESSAGES, "late": _LATE}
    return {name: await fetch_all(query, payment_id) for name, query in queries.items()}


async def queues(session: aiohttp.ClientSession, serve_url: str | None) -> dict[str, Counter[str]] | None:
    """Return what `delegator serve` measures of each service's queue.

    Returns:
        By service: the number of unfinished `jobs`, that of rows by their state, the age of the `oldest` job in
        seconds, and the number of `dead` letters.
        None: it does not answer, or its address is not known.
    """
    if serve_url is None:
        return None
    try:
        async with session.get(f"{serve_url}/metrics") as response:
            families = text_string_to_metric_families(await response.text())
    except (aiohttp.ClientError, TimeoutError):
        return None
    found = {service: Counter[str]() for service in SERVICES}
    for sample in (sample for family in families for sample in family.samples):
        queue = found.get(sample.labels.get("queue", ""), Counter())
        if sample.name == "delegator_queue_jobs":
            queue[sample.labels["state"]] = int(sample.value)
            # A stored outcome is no job: a workflow task that runs again may read it, for some minutes.
            queue["jobs"] += int(sample.value) if sample.labels["state"] != "stored" else 0
        elif sample.name == "delegator_queue_oldest_job_age_seconds":
            queue["oldest"] = int(sample.value)
        elif sample.name == "delegator_queue_dead_letters":
            queue["dead"] += int(sample.value)
    return found
