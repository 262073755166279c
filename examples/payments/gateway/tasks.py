"""The gateway service's jobs: the client of the payment provider. The payment's id is the idempotency key of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
from temporalio.exceptions import ApplicationError

from delegator import implements, resource
from examples.payments import contracts
from examples.payments.contracts import DECLINED, Payment
from examples.payments.service import setting


@resource
async def provider() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with the provider. A request that takes longer than five seconds has failed."""
    async with aiohttp.ClientSession(
        setting("PAYMENTS_PROVIDER_URL"), timeout=aiohttp.ClientTimeout(total=float(setting("PAYMENTS_PATIENCE", "5")))
    ) as session:
        yield session


@implements(contracts.charge, max_per_second=200)
async def charge(payment: Payment) -> None:
    """Have the provider accept the charge."""
    await _post(
        "/charges",
        payment,
        {"user_id": payment.user_id, "amount": payment.amount, "currency": payment.currency, "method": payment.method},
    )


@implements(contracts.void, max_per_second=200)
async def void(payment: Payment) -> None:
    """Have the provider give the money back. It also refuses a charge that it has not seen."""
    await _post("/voids", payment, {})


async def _post(path: str, payment: Payment, body: dict[str, Any]) -> None:
    try:
        async with provider.get().post(path, json=body, headers={"Idempotency-Key": payment.payment_id}) as response:
            status, after, answer = response.status, response.headers.get("Retry-After"), await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ApplicationError(f"no answer: {type(error).__name__}", type="ProviderUnreachable") from error
    if status < 400:
        return
    if status == 429 or status >= 500:
        delay = timedelta(seconds=int(after)) if after and after.isdecimal() else None
        raise ApplicationError(f"the provider answered {status}", type="ProviderBusy", next_retry_delay=delay)
    if status == 402:
        raise ApplicationError("the provider declined the charge", type=DECLINED, non_retryable=True)
    raise ApplicationError(
        f"the provider answered {status}: {answer[:200]}", type="ProviderRefused", non_retryable=True
    )
