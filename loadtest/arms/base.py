"""What every arm can do, and how its worker processes are started."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from temporalio.client import Client

from delegator.errors import ConfigurationError
from loadtest.servers.crew import WorkerProcess
from loadtest.workload.jobs import Work
from loadtest.workload.options import Options
from loadtest.workload.scenarios import Arrival, Load, Scenario

HTTP_CONCURRENCY: Final = 1_000
"""Jobs in flight in the HTTP worker; the Temporal worker of classic has as many activity slots."""


class Role(StrEnum):
    """What a Temporal worker process runs."""

    ALL = "all"
    """Workflows and activities."""
    WORKFLOWS = "workflows"
    """Workflows alone."""
    ACTIVITIES = "activities"
    """Activities alone."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run, as its arm sees it."""

    client: Client
    """The load generator's client. It has no plugin, so it is the same for every arm."""
    task_queue: str
    """A task queue that no other run uses."""
    timeout: timedelta
    """A workflow that takes longer has failed."""
    ledger: Path
    """Directory of the run's ledger."""
    database_url: str | None = field(default=None, repr=False)
    """The delegator's database; None: the arm needs none."""
    open: set[str] = field(default_factory=set)
    """Ids of the executions that were started and whose end the load generator has not seen."""

    @property
    def prefix(self) -> str:
        """Prefix of the ids of this run's executions; no other run has it."""
        return f"{self.task_queue}-"

    def workflow_id(self, work: Work) -> str:
        """Return the id of a workflow, with which the ids of its activities begin."""
        return f"{self.prefix}{work.workflow}"


@dataclass(frozen=True, slots=True)
class Processes:
    """The worker processes of an arm."""

    standing: Sequence[WorkerProcess]
    """Processes that run all the time."""
    job_workers: Sequence[WorkerProcess]
    """Processes that run jobs. To let a backlog build up, they are started later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm(ABC):
    """One way to do the work."""

    name: str
    """As given to `--arm`."""
    delegates: bool = False
    """Whether it needs the delegator's database, its stream and HTTP workers."""
    plugin: bool = False
    """Whether its Temporal worker has the delegator's plugin."""
    intercepts: bool = False
    """Whether the plugin turns unchanged `execute_activity` calls into jobs."""
    waits_inline: bool = True
    """Whether the plugin waits for outcomes within the workflow task; False: all outcomes come by signal."""
    runs_jobs: bool = True
    """Whether it runs jobs. The yardsticks do not: `floor` does nothing, `local` runs empty local activities."""

    def check(self, scenario: Scenario, load: Load, options: Options) -> None:
        """Refuse a load that the arm can't run.

        Raises:
            ConfigurationError: the arm can't run it.
        """
        if scenario.arrival is Arrival.BACKLOG and not self.runs_jobs:
            raise ConfigurationError(f"the arm {self.name} has no jobs, so the scenario {scenario.name} can't run it")

    @abstractmethod
    async def execute(self, session: Session, work: Work) -> int:
        """Do the work of one workflow and return its answer.

        Raises:
            DependencyError: the server does not know how to run the arm; no workflow of it can succeed.
            Exception: the workflow failed.
        """

    @abstractmethod
    async def waiting(self, session: Session, works: Sequence[Work]) -> int:
        """Return how many jobs wait for a job worker. Called while no job worker runs.

        Args:
            session: the run.
            works: the workflows that were started.
        """

    @abstractmethod
    async def terminate(self, session: Session, execution: str) -> None:
        """End an execution that is still open.

        Args:
            session: the run.
            execution: one of `session.open`.
        """

    @abstractmethod
    async def history_length(self, session: Session, work: Work) -> int | None:
        """Return the number of events of a completed workflow; None: the arm has no history."""

    @abstractmethod
    def expected(self, work: Work) -> int:
        """Return the right answer."""

    @abstractmethod
    def processes(self, task_queue: str, *, split: bool = False) -> Processes:
        """Return the worker processes of the arm.

        Args:
            task_queue: the run's task queue.
            split: whether jobs get processes of their own.
        """

    def temporal_worker(self, task_queue: str, role: Role) -> WorkerProcess:
        """Return a Temporal worker process.

        Args:
            task_queue: the run's task queue.
            role: what it runs.
        """
        return WorkerProcess(
            name="Temporal activity worker" if role is Role.ACTIVITIES else "Temporal worker",
            argv=(
                *(sys.executable, "-m", "loadtest.worker"),
                *("--arm", self.name, "--task-queue", task_queue, "--role", role),
            ),
        )


def http_worker() -> WorkerProcess:
    """Return an HTTP worker process."""
    return WorkerProcess(
        name="HTTP worker",
        argv=(
            *(sys.executable, "-m", "http_workers"),
            # Jobs are running when it is stopped only if the run failed or was interrupted: they need no time to end.
            *("--import", "loadtest.workload.handlers", "--concurrency", str(HTTP_CONCURRENCY), "--grace", "2"),
        ),
    )
