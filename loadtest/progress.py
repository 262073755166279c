"""How a run tells of itself."""

from __future__ import annotations


class Progress:
    """Told how a run goes; this one keeps it to itself."""

    def begin(self, title: str, total: int) -> None:
        """A run begins.

        Args:
            title: what to show.
            total: workflows in its measured window.
        """

    def advance(self) -> None:
        """A workflow is done."""

    def complain(self, message: str) -> None:
        """Something went wrong that the numbers do not explain."""
