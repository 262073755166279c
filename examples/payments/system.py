"""All services of the payments as processes."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

import aiohttp

from examples import local
from examples.local import Dispatch, Pool, local_system, together
from examples.outgoing import SMTP_PORT
from examples.payments.contracts import SERVICES, Times

_MODULES: Final = {
    "provider": "examples.payments.provider",
    "mail": "examples.mailbox",
    "worker": "examples.payments.orchestrator",
    "api": "examples.payments.orchestrator.api",
    "reporting": "examples.payments.reporting",
    **{service: f"examples.payments.{service}" for service in SERVICES},
}


class System:
    """The payments' processes. `running_system` makes it."""

    def __init__(self, system: local.System, times: Times) -> None:
        self.dispatch = system.dispatch
        """How jobs reach the services."""
        self.stack = system.stack
        """The embedded stack; None: the environment names servers."""
        self.directory = system.directory
        """Has the log of each service."""
        self.provider_ledger = self.directory / "provider.db"
        """The provider's own ledger."""
        self.environment: dict[str, str] = {}
        """Variables of the services beside those of this process."""
        self.programs = {
            name: system.program(name, "-m", module, "--port", "{port}", environment=self.environment)
            for name, module in _MODULES.items()
        }
        """The processes, by name."""
        provider = system.program("provider's public port")  # it is never run: it keeps the port free
        self.environment |= {
            "PAYMENTS_DISPATCH": self.dispatch,
            "PAYMENTS_TIMES": json.dumps(asdict(times)),
            "PAYMENTS_API_URL": self.url("api"),
            "PAYMENTS_CALLBACK_SECRET": secrets.token_hex(16),
            "PAYMENTS_CONTROL_URL": self.url("provider"),
            "PAYMENTS_PROVIDER_URL": provider.url,
            "PAYMENTS_PROVIDER_PORT": str(provider.port),
            "PAYMENTS_PROVIDER_LEDGER": str(self.provider_ledger),
            SMTP_PORT: str(self.programs["mail"].port),
        }
        if self.stack is not None:
            self.environment["PAYMENTS_SERVE_URL"] = self.stack.program_urls["serve"]

    def url(self, name: str) -> str:
        """Return the base URL of a service: `api`, `reporting`, or `provider` for its control API."""
        return self.programs[name].url

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the services that run."""
        return {name: one.pid for name, one in self.programs.items() if one.pid is not None and one.is_running}

    async def provider(self, **behaviour: Any) -> None:
        """Set how the provider behaves; see `Behaviour`. With `user` only for one user's charges."""
        await self._control("PUT", "/", json=behaviour)

    async def call_back(self, payment_id: str) -> None:
        """Have the provider send its callback at once."""
        await self._control("POST", f"/callbacks/{payment_id}")

    async def _control(self, method: str, path: str, **options: Any) -> None:
        url = self.url("provider") + path
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.request(method, url, **options):
            pass


@asynccontextmanager
async def running_system(dispatch: Dispatch = Dispatch.DELEGATED, times: Times | None = None) -> AsyncIterator[System]:
    """Run all services, on the servers that the environment names or on an embedded stack.

    Args:
        dispatch: how jobs reach the services.
        times: how long payments wait.

    Raises:
        DelegatorError: a server can't be reached, a setting is wrong, or a service did not start.
    """
    pools = [Pool([], queue) for queue in SERVICES]
    async with local_system(*pools, dispatch=dispatch, start_pools=False) as processes:
        system = System(processes, times or Times())
        await together(program.start() for program in system.programs.values())
        yield system
