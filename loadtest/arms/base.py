"""What an arm is to the runner."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client

from loadtest.processes import WorkerProcess
from loadtest.scenarios import Load, Scenario
from loadtest.work import Work


@dataclass(frozen=True, slots=True)
class Session:
    """Where the workflows of one run go."""

    client: Client
    """The load generator's client: without plugin, the same for every arm."""
    task_queue: str
    """This run's own task queue."""
    timeout: timedelta
    """A workflow that takes longer has failed."""

    def workflow_id(self, work: Work) -> str:
        """Return the id of a workflow (and the stem of ids below it)."""
        return f"{self.task_queue}-{work.workflow}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm(ABC):
    """One way to do the work."""

    name: str
    """As given to `--arm`."""
    delegates: bool = False
    """Whether it needs the delegator's database, stream and HTTP workers."""
    runs_jobs: bool = True
    """False for the floor, which does nothing."""

    @abstractmethod
    def check(self, scenario: Scenario, load: Load) -> None:
        """Refuse a load that the arm can't carry.

        Raises:
            ConfigurationError: it can't.
        """

    @abstractmethod
    async def execute(self, session: Session, work: Work) -> int:
        """Do the work of one workflow and return its answer.

        Raises:
            DependencyError: the server does not know how to run the arm; no workflow of it can succeed.
            Exception: the workflow failed.
        """

    @abstractmethod
    async def history_length(self, session: Session, work: Work) -> int | None:
        """Return the number of events of a completed workflow; None: the arm has no history."""

    @abstractmethod
    def expected(self, work: Work) -> int:
        """Return the right answer."""

    def commands(self, task_queue: str) -> Sequence[WorkerProcess]:
        """Return the worker processes of the arm: one on Temporal, and one HTTP worker if it delegates."""
        worker = WorkerProcess(
            name="Temporal worker",
            argv=(sys.executable, "-m", "loadtest.worker", "--arm", self.name, "--task-queue", task_queue),
        )
        if not self.delegates:
            return (worker,)
        http_worker = WorkerProcess(
            name="HTTP worker",
            argv=(
                *(sys.executable, "-m", "http_workers"),
                *("--import", "loadtest.tasks", "--concurrency", str(HTTP_CONCURRENCY)),
            ),
        )
        return (worker, http_worker)


HTTP_CONCURRENCY = 500
"""Jobs in flight in the HTTP worker; the Temporal worker of classic has as many activity slots."""
