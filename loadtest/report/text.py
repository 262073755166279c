"""Write numbers and names for people."""

from __future__ import annotations

import math
from typing import Final

DASH: Final = "-"
_BINARY: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_UNSHOWN: Final = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), 127, 0xFFFE, 0xFFFF)}


def clean(text: str) -> str:
    """Replace characters that HTML or UTF-8 can't hold: control characters and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().translate(_UNSHOWN)


def number(value: float | None) -> str:
    """Write a number with three significant digits, or all those before the point; None is a dash."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = min(max(2 - math.floor(math.log10(abs(value))), 0), 6)
    shown = f"{value:.{digits}f}"
    return shown.rstrip("0").rstrip(".") if abs(value) < 1 else shown


def short(value: float) -> str:
    """Write a number of an axis in few characters: 0.5, 20, 1.5k, 2M."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.4g}{letter}"
    return f"{value:.4g}"


def size(value: float | None) -> str:
    """Write a number of bytes; None is a dash."""
    if value is None:
        return DASH
    power = min(max(math.floor(math.log(value, 1024)), 0), len(_BINARY) - 1) if value >= 1 else 0
    return f"{number(value / 1024**power)} {_BINARY[power]}" if power else f"{value:.0f} {_BINARY[0]}"


def times(ratio: float | None) -> str:
    """Write a ratio; None is a dash."""
    if ratio is None:
        return DASH
    return f"\N{MULTIPLICATION SIGN}{f'{ratio:.2f}' if 0.1 <= ratio < 100 else number(ratio)}"


def percent(share: float | None) -> str:
    """Write a share; None is a dash. Only 1 is written as 100 %, and only 0 as 0 %."""
    if share is None:
        return DASH
    if 0 < share < 1:
        return f"{min(max(share * 100, 0.1), 99.9):.1f} %"
    return f"{share * 100:.0f} %"


def shortened(text: str, most: int) -> str:
    """Cut a name that is too long for its place.

    Args:
        text: the name.
        most: characters that fit.
    """
    return text if len(text) <= most else text[: most - 1] + "…"
