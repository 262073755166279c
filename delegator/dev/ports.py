"""Ports for servers on one machine."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
from dataclasses import dataclass, field

from delegator.errors import DependencyError

LOOPBACK = "127.0.0.1"
# Below Linux's range for outgoing connections (32768-60999): no such connection takes the port during a restart.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200


@dataclass(frozen=True)
class Port:
    """A TCP port on the loopback interface. No other stack of this machine will choose it."""

    number: int
    """The port."""
    _guard: socket.socket | None = field(repr=False, compare=False, default=None)
    """Held while the port is reserved. The kernel closes it when the process ends."""

    def release(self) -> None:
        """Give it up."""
        if self._guard is not None:
            self._guard.close()


def reserve(preferred: int | None = None) -> Port:
    """Return `preferred` if it is free, else a free port.

    The reservation keeps other stacks away until the server binds the port, and while the server restarts. Other
    programs can still take the port, so a bind may fail.

    Args:
        preferred: the usual port; None: any port.

    Raises:
        DependencyError: no port is free.
    """
    if preferred is not None and (port := _try(preferred)) is not None:
        return port
    for _ in range(_ATTEMPTS):
        if (port := _try(random.choice(_RANGE))) is not None:
            return port
    raise DependencyError(f"no free TCP port between {_RANGE.start} and {_RANGE.stop} on {LOOPBACK}")


def _try(number: int) -> Port | None:
    guard: socket.socket | None = None
    if sys.platform.startswith("linux"):
        guard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            guard.bind(f"\0temporal-delegator/port/{number}")
        except OSError:
            guard.close()
            return None
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, number))
            probe.listen(1)
        except OSError:
            if guard is not None:
                guard.close()
            return None
    return Port(number, guard)
