"""Colours of charts, for light and dark pages: an arm of ours has the same colour on every page and chart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

LIGHT: Final[Mapping[str, str]] = {
    "paper": "#ffffff",
    "ink": "#1c2430",
    "soft": "#5b6675",
    "rule": "#e3e7ec",
    "axis": "#9aa4b1",
    "a0": "#7b8494",
    "a1": "#d55e00",
    "a2": "#a2478a",
    "a3": "#0068b5",
    "a4": "#00805a",
    "a5": "#1c2431",
    "a6": "#b98500",
    "a7": "#3a9bd8",
    "a8": "#8c5a2b",
    "c0": "#ee8866",
    "c1": "#77aadd",
    "c2": "#44bb99",
    "c3": "#99ddff",
    "c4": "#eedd88",
    "c5": "#bbcc33",
    "c6": "#ffaabb",
    "c7": "#c4c9d1",
    "c8": "#aaaa00",
    "c9": "#b79ad6",
}
"""CSS variables without their dashes: `a` for arms, `c` for components. All values differ, so each one names one."""
DARK: Final[Mapping[str, str]] = {
    "paper": "#171c24",
    "ink": "#e8ecf1",
    "soft": "#a3adba",
    "rule": "#2a323d",
    "axis": "#5d6875",
    "a0": "#98a2b1",
    "a1": "#ff8a3d",
    "a2": "#d98ac4",
    "a3": "#56aaf2",
    "a4": "#2fc79a",
    "a5": "#f2f4f7",
    "a6": "#e9b949",
    "a7": "#9bd4fb",
    "a8": "#d3a77d",
}
"""The variables that a dark page sets to something else."""
DASHES: Final[Mapping[str, tuple[float, ...]]] = {
    "a0": (2, 4.5),
    "a2": (9, 4),
    "a4": (7, 4.5),
    "a5": (9, 4, 1, 4),
    "a6": (4, 4),
    "a7": (12, 4, 2, 4),
    "a8": (3, 3, 9, 3),
}
"""Lengths of dashes and gaps of each arm's line: a reader who can't tell the colours apart has these."""

_ARMS: Final[Mapping[str, int]] = {
    "floor": 0,
    "classic": 1,
    "standalone": 2,
    "delegated": 3,
    "drop-in": 4,
    "drop-in-worker": 5,
    "gathered": 6,
    "local": 7,
    "signalled": 8,
    # Queues have charts of their own.
    "bare": 0,
    "bare-run": 7,
    "delegator": 3,
    "ordered": 4,
    "pgqueuer": 1,
    "procrastinate": 6,
}
_COMPONENTS: Final[Mapping[str, int]] = {
    "temporal": 0,
    "postgres": 1,
    "relay": 2,
    "serve": 3,
    "Temporal worker": 4,
    "HTTP worker": 5,
    "Temporal activity worker": 6,
    "load generator": 7,
    "temporal-postgres": 8,
    "delegator serve": 9,
    # Processes of runs without workflows.
    "worker": 5,
    "load": 7,
}
_FONTS: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'


def arm_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the colour variable of each arm: `a0`, `a1`, ..."""
    return _assigned("a", names, _ARMS)


def component_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the colour variable of each component: `c0`, `c1`, ..."""
    return _assigned("c", names, _COMPONENTS)


def ranked_colours(names: Iterable[str]) -> dict[str, str]:
    """Return colour variables of components by their rank alone."""
    colours = _variables("c")
    return {name: colours[rank % len(colours)] for rank, name in enumerate(names)}


def theme() -> str:
    """Return the stylesheet that sets the variables, for light and dark, and the letters of charts."""
    dashes = "\n".join(
        f".line.{kind} {{ stroke-dasharray: {' '.join(f'{length:g}' for length in lengths)}; }}"
        for kind, lengths in DASHES.items()
    )
    return (
        f":root {{ {_declarations(LIGHT)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_declarations(DARK)} }} }}\n"
        f"svg.plot text {{ font-family: {_FONTS} !important; font-variant-numeric: tabular-nums; }}\n{dashes}"
    )


def _declarations(values: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in values.items())


def _variables(prefix: str) -> list[str]:
    return [name for name in LIGHT if name[0] == prefix and name[1:].isdigit()]


def _assigned(prefix: str, names: Iterable[str], known: Mapping[str, int]) -> dict[str, str]:
    names = list(dict.fromkeys(names))
    colours = _variables(prefix)
    taken: dict[str, str] = {}
    for name in names:
        if name in known and colours[known[name]] not in taken.values():
            taken[name] = colours[known[name]]
    free = [colour for colour in colours if colour not in taken.values()] or colours
    others = [name for name in names if name not in taken]
    taken |= {name: free[number % len(free)] for number, name in enumerate(others)}
    return {name: taken[name] for name in names}
