"""What a run reports while it goes on."""

from __future__ import annotations


class Progress:
    """Gets reports of a run. This one ignores them."""

    def begin(self, title: str, total: int) -> None:
        """A run begins.

        Args:
            title: what to show.
            total: workflows in its measured window, or jobs.
        """

    def advance(self, count: int = 1) -> None:
        """Some workflows, or jobs without workflows, are done."""

    def complain(self, message: str) -> None:
        """Something went wrong that the numbers do not show."""
