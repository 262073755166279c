"""What the workflow, the jobs and the callers say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

State = Literal["active", "grace", "expired"]


@dataclass(frozen=True)
class Payment:
    """What renews a subscription."""

    id: str
    days: int


@dataclass(frozen=True)
class Terms:
    """What holds for a subscription."""

    interval_seconds: int = 6 * 3600
    """How often the billing service is asked."""
    timers_from_seconds: int = 60
    """From here on a timer waits, below one job waits and asks: a timer costs events, a job a place in a worker."""
    reminders: tuple[int, ...] = (7, 1, 0)
    """Days before the end."""
    grace_days: int = 3
    day_seconds: int = 86_400


@dataclass(frozen=True)
class Subscription:
    """A subscription, and what a run hands on to the next one."""

    id: str
    ends: datetime
    terms: Terms = field(default_factory=Terms)
    payments: list[str] = field(default_factory=list)
    """Payments that count already: each may come by a signal, and be found by polling, too."""
    version: int = 0


@dataclass(frozen=True)
class Status:
    """The answer of the query, as of the workflow's last step."""

    state: State
    ends: datetime
    days_left: int
