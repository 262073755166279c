"""Notices that files have changed: tokens and certificates are replaced while a server runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 1.0
"""How long files are trusted before they are looked at again. Requests ask more often than that."""

_State = tuple[int, int, int] | None


class ChangedFiles:
    """Says whether files have changed since it was last asked."""

    def __init__(self, *files: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Look at the files. Do so before they are read, so that a change in between is not missed.

        Args:
            files: the files.
            clock: in seconds.
        """
        self._files = files
        self._clock = clock
        self._looked_at = clock()
        self._states = self._look()

    def changed(self) -> bool:
        """Return whether a file has been written, or another one put in its place. It looks at most once a second."""
        now = self._clock()
        if now - self._looked_at < _LOOK_SECONDS:
            return False
        self._looked_at = now
        before, self._states = self._states, self._look()
        return self._states != before

    def _look(self) -> list[_State]:
        return [_state(file) for file in self._files]


def _state(file: Path) -> _State:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
