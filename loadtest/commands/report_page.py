"""The command `report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from delegator.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.json...", help="Files of runs and comparisons, written with --json.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write the page here, and the numbers beside it.")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Write one SVG plot of all scenarios here.")] = None,
) -> None:
    """Make one self-contained HTML page, or one plot, from the numbers of runs and comparisons."""
    if out is None and plot_file is None:
        raise ConfigurationError("nothing to write: name a page with --out PAGE.html, or a plot with --plot PLOT.svg")
    writes = _texts(files, out, plot_file)
    for path in writes:
        if _same(path, files):
            raise ConfigurationError(f"{path} is one of the files to read: name another file to write")
    for path, text in writes.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"can't write {path}: {error.strerror}") from None


def _texts(files: list[Path], out: Path | None, plot_file: Path | None) -> dict[Path, str]:
    """Return what to write into which file."""
    try:
        from loadtest.report.files import RESULTS, comparisons, read
        from loadtest.report.overview import overview
        from loadtest.report.page import page
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the report needs {error.name}, which is not installed: pip install 'temporal-delegator[loadtest]'"
        ) from None
    results = read(files)
    found = comparisons(results)
    texts: dict[Path, str] = {}
    if out is not None:
        data = out.with_suffix(".data.json")
        texts = {data: json.dumps({RESULTS: results}, indent=2) + "\n", out: page(found, data=data.name)}
    if plot_file is not None:
        texts[plot_file] = overview(found)
    return texts


def _same(path: Path, files: list[Path]) -> bool:
    return path.resolve() in {file.resolve() for file in files}
