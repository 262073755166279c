"""Bearer tokens of workers: each may be for some queues and some types only."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from delegator.errors import ConfigurationError
from delegator.runtime.tokens import TokenFile, digest, read_lines, refuse_unusable

_KEYS: Final = ("queues", "types")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token allows."""

    queues: tuple[str, ...] = ("*",)
    """Patterns of queues, as of a shell."""
    types: tuple[str, ...] = ("*",)
    """Patterns of delegated activity types."""

    def allows_queue(self, queue: str) -> bool:
        """Return whether the token is for a queue."""
        return any(fnmatchcase(queue, pattern) for pattern in self.queues)

    def allows_type(self, job_type: str) -> bool:
        """Return whether the token is for a type."""
        return self.types == ("*",) or any(fnmatchcase(job_type, pattern) for pattern in self.types)


EVERYTHING: Final = Scope()
"""The scope of a request to a gateway without tokens."""


class ScopedTokens:
    """The tokens of a file, which is read again when it has changed.

    Each line is `TOKEN [queues=PATTERN,...] [types=PATTERN,...]`; `#` begins a comment.
    """

    def __init__(self, file: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Args:
            file: the tokens; None: no request needs one.
            clock: in seconds.

        Raises:
            ConfigurationError: the file can't be read, or a line of it is wrong.
        """
        self._of_file = None if file is None else TokenFile(file, _read, clock=clock)

    @property
    def required(self) -> bool:
        """Whether a request needs a token."""
        return self._of_file is not None

    def scope(self, token: str) -> Scope | None:
        """Return what a token allows; None: it is not known. The time does not depend on the token."""
        given = digest(token)
        found = None
        for known, scope in (self._of_file.tokens() if self._of_file else {}).items():
            if hmac.compare_digest(given, known):
                found = scope
        return found


def _read(file: Path) -> dict[bytes, Scope]:
    scopes: dict[bytes, Scope] = {}
    for number, line in enumerate(read_lines(file), 1):
        token, *words = line.split()
        refuse_unusable(file, number, token)
        scopes[digest(token)] = _scope(file, number, words)
    return scopes


def _scope(file: Path, number: int, words: Iterable[str]) -> Scope:
    given: dict[str, tuple[str, ...]] = {}
    for word in words:
        key, separator, value = word.partition("=")
        patterns = tuple(pattern for pattern in value.split(",") if pattern)
        if key not in _KEYS or not separator or not patterns or key in given:
            raise ConfigurationError(
                f"--token-file {file}: behind token {number} write queues=NAME,... or types=NAME,..., each at most once"
            )
        given[key] = patterns
    return Scope(**given)
