"""How a run tells of itself."""

from __future__ import annotations


class Progress:
    """Told how a run goes; this one keeps it to itself."""

    def begin(self, title: str, total: int) -> None:
        """A run begins.

        Args:
            title: what to show.
            total: workflows in its measured window, or jobs.
        """

    def advance(self, count: int = 1) -> None:
        """So many workflows (or jobs, where there are none) are done."""

    def complain(self, message: str) -> None:
        """Something went wrong that the numbers do not explain."""
