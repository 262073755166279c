"""A progress bar on stderr; nothing is shown if stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from loadtest.progress import Progress


class BarProgress(Progress):
    """Shows one bar per run."""

    def __init__(self, bars: Bars, console: Console) -> None:
        self._bars = bars
        self._console = console
        self._current: TaskID | None = None

    def begin(self, title: str, total: int) -> None:
        """Replace the bar of the run before."""
        if self._current is not None:
            self._bars.remove_task(self._current)
        self._current = self._bars.add_task(title, total=total)

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        if self._current is not None:
            self._bars.advance(self._current, count)

    def complain(self, message: str) -> None:
        """Print a line above the bar."""
        self._console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress until the end of the block."""
    console = Console(stderr=True)
    bars = Bars(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bars:
        yield BarProgress(bars, console)
