"""Which colour is whose: a name of ours has the same on every page and plot, others get what is free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Final

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
    # Queues, which are in plots of their own.
    "bare": 0,
    "bare-run": 7,
    "delegator": 3,
    "pgqueuer": 1,
    "procrastinate": 6,
}
_ARM_COLOURS: Final = 9
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
    # Of queues.
    "worker": 5,
    "load": 7,
}
_COMPONENT_COLOURS: Final = 10


def arm_classes(names: Iterable[str]) -> dict[str, str]:
    """Return the CSS class of each arm: `a0`, `a1`, ..."""
    return _classes("a", names, _ARMS, _ARM_COLOURS)


def component_classes(names: Iterable[str]) -> dict[str, str]:
    """Return the CSS class of each component: `c0`, `c1`, ..."""
    return _classes("c", names, _COMPONENTS, _COMPONENT_COLOURS)


def ranked_classes(names: Iterable[str]) -> dict[str, str]:
    """Return CSS classes of components by their rank alone."""
    return {name: f"c{rank % _COMPONENT_COLOURS}" for rank, name in enumerate(names)}


def stylesheet(name: str) -> str:
    """Return a stylesheet of this package.

    Args:
        name: of its file.
    """
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _classes(prefix: str, names: Iterable[str], known: Mapping[str, int], colours: int) -> dict[str, str]:
    names = list(dict.fromkeys(names))
    taken: dict[str, int] = {}
    for name in names:
        if name in known and known[name] not in taken.values():
            taken[name] = known[name]
    free = [colour for colour in range(colours) if colour not in taken.values()] or list(range(colours))
    others = [name for name in names if name not in taken]
    taken |= {name: free[number % len(free)] for number, name in enumerate(others)}
    return {name: f"{prefix}{taken[name]}" for name in names}
