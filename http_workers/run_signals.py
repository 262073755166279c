"""Outcomes that workflow runs get by signal."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from delegator.completion.mailbox import Delivery
from delegator.completion.runs import RunKey
from delegator.completion.signals import NotDeliveredError, SignalSender, may_come_again
from delegator.wire.outcomes import Outcome
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics

_log = logging.getLogger(__name__)


class Keep(Protocol):
    """Stores outcomes."""

    async def __call__(self, outcomes: Sequence[tuple[Job, Outcome]], *, delivered: bool = False) -> None:
        """Store outcomes for the signaller or, if they are delivered, for a second enqueue of their jobs."""


class RunSignals:
    """Signals outcomes to the runs that wait for them, and ends their rows."""

    def __init__(
        self,
        signals: SignalSender,
        delete: Callable[[Sequence[Job]], Coroutine[Any, Any, None]],
        keep: Keep,
        metrics: WorkerMetrics,
    ) -> None:
        """Prepare.

        Args:
            signals: sends the signals.
            delete: deletes the rows of jobs.
            keep: stores outcomes.
            metrics: this process's series.
        """
        self._signals = signals
        self._delete = delete
        self._keep = keep
        self._metrics = metrics

    async def send(self, to_signal: Sequence[tuple[Job, Outcome]]) -> None:
        """Signal outcomes. A run that takes none delays no other."""
        runs: dict[RunKey, list[tuple[Job, Outcome]]] = defaultdict(list)
        done: list[Job] = []
        for job, outcome in to_signal:
            if job.row.workflow_id is None or job.row.run_id is None or job.row.namespace is None:
                done.append(job)
            else:
                runs[RunKey(job.row.namespace, job.row.workflow_id, job.row.run_id)].append((job, outcome))
        async with asyncio.TaskGroup() as group:
            for key, outcomes in runs.items():
                group.create_task(self._send_to(key, outcomes))
            if done:
                group.create_task(self._delete(done))

    async def _send_to(self, key: RunKey, outcomes: Sequence[tuple[Job, Outcome]]) -> None:
        try:
            delivery = await self._signals.deliver(key, [(job.job_id, outcome) for job, outcome in outcomes])
        except Exception as error:  # a codec may raise any error
            level = logging.DEBUG if isinstance(error, NotDeliveredError) else logging.ERROR  # it is logged already
            _log.log(level, "outcomes_unsendable", extra={"jobs": len(outcomes), "reason": type(error).__name__})
            await self._keep(outcomes)
            return
        if delivery is Delivery.ORPHANED:
            self._metrics.orphaned.inc(len(outcomes))
        again = may_come_again(delivery, key, (job.job_id for job, _ in outcomes))
        if again:
            await self._keep([one for one in outcomes if one[0].job_id in again], delivered=True)
        if rest := [job for job, _ in outcomes if job.job_id not in again]:
            await self._delete(rest)
