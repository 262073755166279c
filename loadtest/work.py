"""The work of every arm, and its right answer: cheap on purpose, so that a run measures dispatch alone."""

# No postponed annotations here: the data converter evaluates those of a dataclass anew for every argument.
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.scenarios import Pattern

_MODULUS = (1 << 53) - 111  # below 2**53: every JSON reader holds it exactly


@dataclass(frozen=True, slots=True)
class Piece:
    """The input of one job."""

    workflow: int
    """Number of the workflow within its run."""
    job: int
    """Number of the job within its workflow."""


@dataclass(frozen=True, slots=True)
class Work:
    """The input of one workflow."""

    workflow: int
    """Number of the workflow within its run."""
    jobs: int
    """How many jobs it has."""
    pattern: Pattern
    """How it makes its calls."""

    def pieces(self) -> Sequence[Piece]:
        """Return the inputs of its jobs, in order."""
        return [Piece(self.workflow, job) for job in range(self.jobs)]


def answer(piece: Piece) -> int:
    """Return what the job must return; no two jobs of a run share it."""
    return ((piece.workflow << 20 | piece.job) * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % _MODULUS


def fold(answers: Iterable[int]) -> int:
    """Return what the workflow must return; it depends on every answer and on their order."""
    total = 17
    for value in answers:
        total = (total * 31 + value) % _MODULUS
    return total


def expected(work: Work) -> int:
    """Return the right answer of a workflow."""
    return fold(map(answer, work.pieces()))
