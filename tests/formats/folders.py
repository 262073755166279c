"""Where the stored files of a format version are.

Frames and histories are kept under the version of frames, rows under the version of rows.
"""

from __future__ import annotations

from pathlib import Path

from delegator_schema.columns import FORMAT_VERSION

from delegator.wire.frames import VERSION

ROOT = Path(__file__).parent
CURRENT_FRAMES = VERSION
CURRENT_ROWS = FORMAT_VERSION


def folder(version: int, content: str) -> Path:
    """Return the folder of a version's `frames`, `histories` or `rows`."""
    return ROOT / f"v{version}" / content


def stored(content: str) -> list[Path]:
    """Return the stored files of every version, in order."""
    return sorted(path for path in ROOT.glob(f"v*/{content}/*") if path.is_file())


def version_of(path: Path) -> int:
    """Return the version of a stored file."""
    return int(path.parent.parent.name.removeprefix("v"))
