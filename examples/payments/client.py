"""A client of the payments' API, for people's scripts, the demonstration, the load scenarios and the tests."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import aiohttp

_POLL_SECONDS = 0.1


class ApiClient:
    """Asks the API, as a shop would."""

    def __init__(self, url: str) -> None:
        self._session = aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=60))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def request(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Send a request. Return the HTTP status and the JSON answer."""
        async with self._session.request(method, path, **options) as response:
            return response.status, await response.json()

    async def pay(self, user: str, amount: int, key: str, *, wait: int | None = None) -> tuple[int, dict[str, Any]]:
        """Ask for a payment of euros by card. Return the HTTP status and the answer.

        Args:
            user: whose account pays.
            amount: in minor units.
            key: the idempotency key.
            wait: seconds to wait for the decision; None: do not wait.
        """
        body = {"user_id": user, "amount": amount, "currency": "EUR", "method": "card"}
        headers = {"Idempotency-Key": key} | ({} if wait is None else {"Prefer": f"wait={wait}"})
        return await self.request("POST", "/payments", json=body, headers=headers)

    async def state(self, payment: str) -> dict[str, Any]:
        """Return a payment's state."""
        return (await self.request("GET", f"/payments/{payment}"))[1]

    async def until(self, payment: str, seconds: float = 60, **values: Any) -> dict[str, Any]:
        """Wait until a payment's state has these values. Return the state.

        What the API says "as of" an earlier moment, because no worker answers, does not count.

        Raises:
            TimeoutError: it does not get there.
        """
        state: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while "as_of" in (state := await self.state(payment)) or state | values != state:  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"{payment} is not {values} after {seconds:g} s: {state}") from None
        return state

    async def done(self, payment: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until a payment's workflow has nothing more to do. Return its state."""
        return await self.until(payment, seconds, stage="done")
