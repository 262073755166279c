"""Bearer tokens that a server accepts: several at once, and changed without a restart."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Sized
from pathlib import Path
from typing import Final, Generic, TypeVar

from delegator.errors import ConfigurationError
from delegator.runtime.changed_files import ChangedFiles

_LEAST_LENGTH: Final = 8

T = TypeVar("T", bound=Sized)

_log = logging.getLogger(__name__)


class TokenFile(Generic[T]):
    """What a file of tokens says. It is read again when it has changed, and stays as it is if it can't be read."""

    def __init__(self, file: Path, read: Callable[[Path], T], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Args:
            file: the tokens.
            read: reads it; raises ConfigurationError if it is wrong.
            clock: in seconds.

        Raises:
            ConfigurationError: the file is wrong.
        """
        self._file = file
        self._read = read
        self._watch = ChangedFiles(file, clock=clock)
        self._tokens = read(file)

    def tokens(self) -> T:
        """Return what the file says, or what it said when it was last right."""
        if self._watch.changed():
            try:
                self._tokens = self._read(self._file)
            except ConfigurationError as error:
                _log.error("tokens_not_read", extra={"reason": str(error)})
            else:
                _log.info("tokens_read", extra={"file": str(self._file), "tokens": len(self._tokens)})
        return self._tokens


class Tokens:
    """The tokens of a server. Any of them is accepted.

    A token is compared in the same time whether or not its beginning is right, and whichever of the tokens it is.
    """

    def __init__(
        self, tokens: Iterable[str] = (), *, file: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the tokens, and read the file.

        Args:
            tokens: accepted for as long as the process runs.
            file: holds more, one a line; `#` begins a comment. It is read again when it has changed.
            clock: in seconds.

        Raises:
            ConfigurationError: the file can't be read, holds no token, or one that an HTTP header can't carry.
        """
        self._fixed = frozenset(map(digest, tokens))
        self._of_file = None if file is None else TokenFile(file, _read, clock=clock)

    @property
    def required(self) -> bool:
        """Whether a request needs a token."""
        return bool(self._fixed or self._of_file)

    def accept(self, token: str) -> bool:
        """Return whether a token is one of these."""
        given = digest(token)
        found = False
        for known in self._known():
            found |= hmac.compare_digest(given, known)
        return found

    def fingerprint(self, token: str) -> str | None:
        """Return what stands for an accepted token where the token itself must not stand; None: it is not accepted."""
        return _fingerprint(digest(token)) if self.accept(token) else None

    def is_current(self, fingerprint: str) -> bool:
        """Return whether the token of a fingerprint is still accepted."""
        return any(hmac.compare_digest(fingerprint, _fingerprint(known)) for known in self._known())

    def _known(self) -> frozenset[bytes]:
        return self._fixed if self._of_file is None else self._fixed | self._of_file.tokens()


def token_of(authorization: str) -> str | None:
    """Return the token in a header `Authorization`: a bearer token, or the password that a browser has asked for.

    Args:
        authorization: the header's value.
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        return b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (Base64Error, ValueError):
        return None


def digest(token: str) -> bytes:
    """Return what is kept of a token. Digests have one length, so that a comparison does not tell that of the token."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def _fingerprint(known: bytes) -> str:
    return hashlib.sha256(known).hexdigest()


def read_lines(file: Path) -> list[str]:
    """Return the lines of a file of tokens, without comments.

    Raises:
        ConfigurationError: it can't be read, or holds none.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--token-file {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    found = [text for line in lines if (text := line.partition("#")[0].strip())]
    if not found:
        raise ConfigurationError(f"--token-file {file} is empty")
    return found


def refuse_unusable(file: Path, number: int, token: str) -> None:
    """Refuse a token that can't be used.

    Args:
        file: where it stands.
        number: which of the file's tokens it is.
        token: the token.

    Raises:
        ConfigurationError: it is too short, or an HTTP header can't carry it.
    """
    if not (token.isascii() and token.isprintable()) or " " in token or len(token) < _LEAST_LENGTH:
        raise ConfigurationError(
            f"--token-file {file}: token {number} is shorter than {_LEAST_LENGTH} characters, or has one that an "
            "HTTP header can't carry"
        )


def _read(file: Path) -> frozenset[bytes]:
    tokens = read_lines(file)
    for number, token in enumerate(tokens, 1):
        refuse_unusable(file, number, token)
    return frozenset(map(digest, tokens))
