"""The gateway service's jobs: the client of the payment provider. The payment's id is the idempotency key of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta

import aiohttp
from temporalio.exceptions import ApplicationError

from delegator import implements, resource
from examples.payments import contracts
from examples.payments.contracts import DECLINED, Payment
from examples.service import setting


@resource
async def provider() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session with the provider. A request that takes longer than five seconds has failed."""
    timeout = aiohttp.ClientTimeout(total=float(setting("PAYMENTS_PATIENCE", "5")))
    async with aiohttp.ClientSession(setting("PAYMENTS_PROVIDER_URL"), timeout=timeout) as session:
        yield session


@implements(contracts.charge, max_per_second=200)
async def charge(payment: Payment) -> None:
    """Have the provider accept the charge."""
    await _post("/charges", payment)


@implements(contracts.void, max_per_second=200)
async def void(payment: Payment) -> None:
    """Have the provider give the money back. It also refuses a charge that it has not seen."""
    await _post("/voids", payment)


async def _post(path: str, payment: Payment) -> None:
    headers = {"Idempotency-Key": payment.payment_id}
    try:
        async with provider.get().post(path, json=asdict(payment), headers=headers) as response:
            status, after, answer = response.status, response.headers.get("Retry-After"), await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ApplicationError(f"no answer: {type(error).__name__}", type="ProviderUnreachable") from error
    if status < 400:
        return
    if status == 402:
        raise ApplicationError("the provider declined the charge", type=DECLINED, non_retryable=True)
    if status == 429 or status >= 500:
        delay = timedelta(seconds=int(after)) if after and after.isdecimal() else None
        raise ApplicationError(f"the provider answered {status}", type="ProviderBusy", next_retry_delay=delay)
    words = f"the provider answered {status}: {answer[:200]}"
    raise ApplicationError(words, type="ProviderRefused", non_retryable=True)
