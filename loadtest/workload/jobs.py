"""The inputs of workflows and jobs, and their right answers.

The work is cheap on purpose, so that a run measures dispatch alone.
"""

# No snoozed annotations here: the data converter would evaluate them again for every argument.
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_letters, digits
from zlib import crc32

from loadtest.workload.options import PLAIN, Shape
from loadtest.workload.scenarios import Pattern

_MODULUS = (1 << 53) - 111  # below 2**53, so every JSON reader can hold it exactly
_SHIFTS = 4_096
_JOB_BITS = 20


@dataclass(frozen=True, slots=True)
class Chore:
    """The input of one job that has a payload, takes its time or fails."""

    workflow: int
    """Number of the workflow within its run."""
    job: int
    """Number of the job within its workflow."""
    sleep_ms: int
    """How long it waits before it answers."""
    failures: int
    """How many of its first attempts fail."""
    payload: str
    """Data that the answer depends on."""


@dataclass(frozen=True, slots=True)
class Work:
    """The input of one workflow."""

    workflow: int
    """Number of the workflow within its run."""
    jobs: int
    """How many jobs it has."""
    pattern: Pattern
    """How it makes its calls."""
    shape: Shape | None = None
    """What its jobs do beside answering; None: nothing."""

    def numbers(self) -> Sequence[int]:
        """Return the inputs of jobs that only answer, in order; `place` reads them."""
        return [_number(self.workflow, job) for job in range(self.jobs)]

    def chores(self) -> Sequence[Chore]:
        """Return the inputs of jobs that do more, in order."""
        shape = self.shape or PLAIN
        return [_chore(self.workflow, job, shape) for job in range(self.jobs)]

    def executions(self) -> Sequence[int]:
        """Return how often each job's handler must run, in order."""
        if self.shape is None or not self.shape.failing_percent:
            return [1] * self.jobs
        return [1 + _failures(self.workflow, job, self.shape) for job in range(self.jobs)]


def work_of(workflow: int, jobs: int, pattern: Pattern, shape: Shape) -> Work:
    """Return the input of a workflow; jobs that only answer get the smallest input."""
    return Work(workflow, jobs, pattern, None if shape == PLAIN else shape)


def place(number: int) -> tuple[int, int]:
    """Return the numbers of a job's workflow and of the job within it."""
    return number >> _JOB_BITS, number & (1 << _JOB_BITS) - 1


def answer(number: int) -> int:
    """Return what the job must return; no two jobs of a run share it."""
    return (number * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % _MODULUS


def answer_of(chore: Chore) -> int:
    """Return what the job must return; it depends on every byte of its payload."""
    return (answer(_number(chore.workflow, chore.job)) + crc32(chore.payload.encode())) % _MODULUS


def fold(answers: Iterable[int]) -> int:
    """Return what the workflow must return; it depends on every answer and on their order."""
    total = 17
    for value in answers:
        total = (total * 31 + value) % _MODULUS
    return total


def expected(work: Work) -> int:
    """Return the right answer of a workflow."""
    return fold(map(answer, work.numbers()) if work.shape is None else map(answer_of, work.chores()))


def _number(workflow: int, job: int) -> int:
    return workflow << _JOB_BITS | job


def _chore(workflow: int, job: int, shape: Shape) -> Chore:
    lot = _lot(workflow, job)
    is_slow = lot < shape.slow_percent
    is_large = 0 <= lot - shape.slow_percent < shape.large_percent
    size = max(shape.payload_bytes, shape.large_bytes) if is_large else shape.payload_bytes
    return Chore(
        workflow=workflow,
        job=job,
        sleep_ms=shape.sleep_ms if is_slow else 0,
        failures=_failures(workflow, job, shape),
        payload=_payload(workflow, job, size),
    )


def _failures(workflow: int, job: int, shape: Shape) -> int:
    return int(0 <= _lot(workflow, job) - shape.slow_percent - shape.large_percent < shape.failing_percent)


def _lot(workflow: int, job: int) -> int:
    """Return a number below 100, the same in every process, evenly spread over the jobs."""
    return answer(_number(workflow, job)) // 65_536 % 100


def _payload(workflow: int, job: int, size: int) -> str:
    if not size:
        return ""
    start = (workflow * 1_009 + job) % _SHIFTS
    return _block(size + _SHIFTS)[start : start + size]


@cache
def _block(size: int) -> str:
    """Return text that compresses badly, the same in every process."""
    return "".join(random.Random(size).choices(ascii_letters + digits, k=size))
