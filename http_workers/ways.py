"""The ways in which ended attempts are brought to their end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.api.failure.v1 import Failure

from delegator.postgres.dead_letters import Reason
from delegator.wire.outcomes import Outcome
from http_workers.attempt import Ended
from http_workers.job import Job


@dataclass(frozen=True, slots=True)
class Ways:
    """The attempts of a batch, by the way in which each is brought to its end."""

    snoozed: list[tuple[Job, timedelta]] = field(default_factory=list)
    """Not begun: free again after a delay."""
    retries: list[tuple[Ended, timedelta, Failure]] = field(default_factory=list)
    """Failed: tried again after a delay."""
    waited: list[tuple[Ended, Outcome]] = field(default_factory=list)
    """A workflow waits for the outcome."""
    dead: list[tuple[Ended, Outcome, Reason]] = field(default_factory=list)
    """Given up: the job becomes a dead letter."""
    tasks: list[Ended] = field(default_factory=list)
    """A Temporal activity task waits for the outcome."""
    overdue: list[Ended] = field(default_factory=list)
    """Timed out, after other attempts. The failure of the attempt before may be needed."""
    plain: list[Ended] = field(default_factory=list)
    """Completed, and no workflow waits: the row goes."""
