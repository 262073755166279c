"""What a comparison reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One difference between the database and the declarations."""

    subject: str
    """What was compared: `column`, `index`, `publication`, `grant`, `slot`, ..."""
    problem: str
    """What is different, on one line."""
    fix: str
    """What to run to mend it, on one line."""
    is_error: bool = True
    """False for what an operator should know but may well want."""

    def __str__(self) -> str:
        return f"{self.problem}: {self.fix}"
