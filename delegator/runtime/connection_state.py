"""The state of the servers that a process needs. Each change is logged once and counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge
from temporalio.service import RPCError

from delegator.runtime.series import DurationHistogram

Dependency = Literal["stream", "postgresql", "temporal", "gateway"]

_log = logging.getLogger(__name__)


class ConnectionMetrics:
    """The series of a process's connections; make one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the series.

        Args:
            registry: where they are exposed.
        """
        self.up = Gauge(
            "delegator_connection_up",
            "1 while the dependency answers, 0 while it is lost or has not answered yet",
            ["dependency"],
            registry=registry,
        )
        self.lost = Counter(
            "delegator_connection_lost_total",
            "How often a dependency that had answered was lost",
            ["dependency"],
            registry=registry,
        )
        self.calls = DurationHistogram(
            "delegator_call_seconds",
            "How long calls of Temporal, of the stream and of a gateway took, by operation and by the status of the "
            "answer (OK, a status of gRPC, TIMEOUT, or ERROR)",
            ["dependency", "operation", "status"],
            registry,
        )


class ConnectionState:
    """The state of one dependency.

    Code that talks to it calls `lost` after every failure and `restored` after every success. Only changes are logged
    and counted.
    """

    def __init__(
        self, dependency: Dependency, metrics: ConnectionMetrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with a dependency that has not answered yet.

        Args:
            dependency: its name in logs, metrics and `/readyz`.
            metrics: the process's connection series.
            clock: monotonic, in seconds.
        """
        self.dependency = dependency
        self._clock = clock
        self._up = metrics.up.labels(dependency)
        self._up.set(0)
        self._lost = metrics.lost.labels(dependency)
        self._calls = metrics.calls
        self._is_up = False
        self._since: float | None = None
        self._refused = False
        self._problem: str = "has not answered yet"

    @property
    def up(self) -> bool:
        """True while the dependency answers."""
        return self._is_up

    def problem(self) -> str | None:
        """Return what is wrong, or None while the dependency answers. Safe to call from any thread."""
        return None if self._is_up else self._problem

    @contextmanager
    def timed(self, operation: str) -> Iterator[None]:
        """Measure one call. A call that is cancelled is not counted.

        Args:
            operation: the name of the call, one of a few.
        """
        began = self._clock()
        status = "OK"
        try:
            yield
        except Exception as error:
            status = _status_of(error)
            raise
        except BaseException:
            status = ""
            raise
        finally:
            if status:
                self._calls.labels(self.dependency, operation, status).observe(self._clock() - began)

    def lost(self, reason: str, *, refused: bool = False) -> None:
        """Note that the dependency does not answer.

        Args:
            reason: one line for people, without payloads or secrets.
            refused: it answers, and only a person can fix the cause. This is logged even if it did not answer before.
        """
        self._problem = reason
        is_news = refused and not self._refused
        self._refused |= refused
        if self._since is not None:
            if is_news:
                _log.warning("connection_refused", extra={"dependency": self.dependency, "reason": reason})
            return
        self._since = self._clock()
        if self._is_up:
            self._is_up = False
            self._up.set(0)
            self._lost.inc()
            _log.warning("connection_lost", extra={"dependency": self.dependency, "reason": reason})
        else:
            _log.warning("connection_failed", extra={"dependency": self.dependency, "reason": reason})

    def restored(self) -> None:
        """Note that the dependency answers."""
        self._refused = False
        if self._is_up:
            return
        self._is_up = True
        self._up.set(1)
        if self._since is None:
            _log.info("connection_up", extra={"dependency": self.dependency})
            return
        seconds = round(self._clock() - self._since, 3)
        self._since = None
        _log.info("connection_restored", extra={"dependency": self.dependency, "seconds": seconds})


def _status_of(error: Exception) -> str:
    """Return a status for the label: one of few values, whatever was raised."""
    if isinstance(error, RPCError):
        return error.status.name
    return "TIMEOUT" if isinstance(error, TimeoutError) else "ERROR"


class SharedConnection:
    """One dependency that several loops use. It is up while it works for all of them."""

    def __init__(self, state: ConnectionState) -> None:
        """Begin without a problem.

        Args:
            state: gets the state of the whole.
        """
        self._state = state
        self._problems: dict[str, str] = {}

    def part(self, name: str) -> ConnectionPart:
        """Return what one loop reports to.

        Args:
            name: of the loop.
        """
        return ConnectionPart(name, self)

    def lost(self, name: str, reason: str, *, refused: bool) -> None:
        """Note that the dependency does not work for a part."""
        self._problems[name] = reason
        self._state.lost(reason, refused=refused)

    def restored(self, name: str) -> None:
        """Note that the dependency works for a part."""
        self._problems.pop(name, None)
        if not self._problems:
            self._state.restored()
        elif not self._state.up:
            self._state.lost(next(iter(self._problems.values())))

    def forget(self, name: str) -> None:
        """Forget what a part said, because it ended. The next success of another part counts."""
        self._problems.pop(name, None)


class ConnectionPart:
    """The state of a dependency as one loop sees it."""

    def __init__(self, name: str, whole: SharedConnection) -> None:
        """Begin without a problem.

        Args:
            name: of the loop.
            whole: the dependency.
        """
        self.name = name
        self._whole = whole

    def lost(self, reason: str, *, refused: bool = False) -> None:
        """Note that the dependency does not answer this loop; the arguments are those of `ConnectionState.lost`."""
        self._whole.lost(self.name, reason, refused=refused)

    def restored(self) -> None:
        """Note that the dependency answers this loop."""
        self._whole.restored(self.name)

    def forget(self) -> None:
        """Note that this loop ended."""
        self._whole.forget(self.name)
