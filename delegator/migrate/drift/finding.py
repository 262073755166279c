"""What the comparison reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One difference between the database and the declarations."""

    subject: str
    """The part that differs: `column`, `index`, `publication`, `grant`, `slot`, ..."""
    problem: str
    """What is different, on one line."""
    fix: str
    """What to run to fix it, on one line."""
    is_error: bool = True
    """False: a difference that an operator should know of, and may want."""

    def __str__(self) -> str:
        return f"{self.problem}: {self.fix}"
