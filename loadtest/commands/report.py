"""`loadtest report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from delegator.errors import ConfigurationError
from loadtest.report.page import page
from loadtest.report.page_model import RESULTS, comparisons, read
from loadtest.report.page_plot import plot


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.json...", help="Files that --json wrote, of runs or comparisons.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write the page here, and the numbers beside it.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Write one SVG plot of all scenarios here.")] = None,
) -> None:
    """Make one self-contained HTML page, or one plot, of what runs and comparisons measured."""
    if out is None and plot_file is None:
        raise ConfigurationError("nothing to write: name a page with --out PAGE.html, or a plot with --plot PLOT.svg")
    results = read(files)
    found = comparisons(results)
    writes: dict[Path, str] = {}
    if out is not None:
        data = out.with_suffix(".data.json")
        writes = {data: json.dumps({RESULTS: results}, indent=2) + "\n", out: page(found, data=data.name)}
    if plot_file is not None:
        writes[plot_file] = plot(found)
    for path in writes:
        if _same(path, files):
            raise ConfigurationError(f"{path} is read: name another file to write")
    for path, text in writes.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"can't write {path}: {error.strerror}") from None


def _same(path: Path, files: list[Path]) -> bool:
    return path.resolve() in {file.resolve() for file in files}
