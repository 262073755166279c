"""All jobs of an engine in memory: what the queue's table is in production."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from delegator.completion.failures import canceled_outcome
from delegator.testing.pauses import Pauses
from delegator.testing.records import Delivery
from delegator.testing.rows import Row
from delegator.wire.pending import Looked
from delegator.wire.requests import is_generated_id

IDENTITY: Final = "delegator.testing"


@dataclass(slots=True)
class JobTable:
    """All jobs of an engine; what the queue's table is in production."""

    rows: list[Row] = field(default_factory=list)
    """Every job so far."""
    by_id: dict[str, Row] = field(default_factory=dict)
    """The last job of each id."""
    is_paused: bool = False
    """No job is taken, as if no worker ran."""
    pauses: Pauses = field(default_factory=Pauses)
    """The queues and types that are paused."""

    def add(self, row: Row) -> None:
        """Take a new job."""
        self.rows.append(row)
        self.by_id[row.job_id] = row

    def known(self, new: Row) -> Row | None:
        """Return the job that has the id of a new one already; None: none has it."""
        row = self.by_id.get(new.job_id)
        if row is None or (row.outcome is not None and row.run_id != new.run_id):
            return None  # in production the row of such an outcome is gone
        if row.job_type != new.job_type and is_generated_id(new.job_id, new.run_id or ""):
            self.remove(row)  # of a call that the workflow has not made after all
            return None
        return row

    def look_for(self, job_ids: Iterable[str], *, at_deadline: bool, tells_retrying: bool) -> Looked:
        """Return what there is of jobs, finished or not.

        Args:
            job_ids: their ids.
            at_deadline: also say which of them are in time.
            tells_retrying: also say whether one of them is retried.
        """
        found = {job_id: self.by_id.get(job_id) for job_id in job_ids}
        known = {job_id: row for job_id, row in found.items() if row is not None}
        return Looked.at(found, known, at_deadline=at_deadline, tells_retrying=tells_retrying)

    def forget_finished(self) -> None:
        """Keep only jobs without an outcome."""
        self.rows = [row for row in self.rows if row.outcome is None]
        self.by_id = {row.job_id: row for row in self.rows}

    def take_back(self, jobs: Iterable[Row]) -> None:
        """Give jobs of earlier runs to a run that was reset. Those that were told to stop begin anew.

        Args:
            jobs: what that run enqueues again.
        """
        for new in jobs:
            row = self.by_id.get(new.job_id)
            if row is None or row.workflow_id != new.workflow_id or row.run_id == new.run_id:
                continue
            if row.outcome is not None or not row.cancel_requested:
                row.run_id = new.run_id
                continue
            self.remove(row)

    def remove(self, row: Row) -> None:
        """End a job whose outcome nobody wants."""
        if row.job is not None:
            row.job.lose()  # as a worker whose row is gone does
        row.job = row.waiter = None
        if row.outcome is None:
            row.resolve(canceled_outcome(job_id=row.job_id, job_type=row.job_type, identity=IDENTITY))
        row.delivery = Delivery.ORPHANED
        del self.by_id[row.job_id]
