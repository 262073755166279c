"""What a process that sends to Temporal keeps apart for each namespace, so that one can't block the others."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from temporalio.service import RPCError, RPCStatusCode

from delegator.errors import first_line
from delegator.runtime.connection_state import ConnectionState

SHORT_PATIENCE_SECONDS: Final = 1.0
"""How long outcomes of a namespace that refuses already are sent again, before they are kept for the signaller. So they
do not take the room that a worker has for the outcomes of others."""
MOST_CALLS: Final = 64
"""Largest number of calls at a time, in each namespace."""

_REFUSALS: Final = frozenset(
    {
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.UNIMPLEMENTED,
    }
)
"""Temporal answers, and refuses what one namespace wants. It may take what another one wants."""

_log = logging.getLogger(__name__)


class Namespaces:
    """The namespaces that a process sends to: how many calls each may make, and which of them refuse."""

    def __init__(self, state: ConnectionState | None = None) -> None:
        """Begin without a namespace.

        Args:
            state: gets the health of the connection to Temporal.
        """
        self._state = state
        self._permits: dict[str, asyncio.Semaphore] = {}
        self._refusing: dict[str, str] = {}

    def permit(self, namespace: str) -> asyncio.Semaphore:
        """Return what bounds the calls in a namespace. Hold it for one call, and never during a pause."""
        permits = self._permits.get(namespace)
        if permits is None:
            permits = self._permits[namespace] = asyncio.Semaphore(MOST_CALLS)
        return permits

    def refuses(self, namespace: str) -> bool:
        """Return whether the last call in a namespace was refused. Who can keep an outcome need not wait long then."""
        return namespace in self._refusing

    def failed(self, namespace: str, error: Exception) -> None:
        """Note that a call failed. A refusal is logged once for each namespace; else the connection counts as lost."""
        if not isinstance(error, RPCError) or error.status not in _REFUSALS:
            if self._state is not None:
                self._state.lost(first_line(error))
        elif namespace not in self._refusing:
            reason = first_line(error)
            self._refusing[namespace] = reason
            _log.error("namespace_refuses", extra={"namespace": namespace, "reason": reason, "then": "try again"})

    def works(self, namespace: str) -> None:
        """Note that a call succeeded."""
        if self._refusing and self._refusing.pop(namespace, None) is not None:
            _log.info("namespace_accepts", extra={"namespace": namespace})
        if self._state is not None:
            self._state.restored()
