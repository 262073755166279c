"""Who has logged in: a signed cookie, and the proof that a form was made for it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from delegator.runtime.tokens import Tokens

COOKIE: Final = "delegator_session"
"""The cookie of a login."""
SESSION_SECONDS: Final = 12 * 3600
"""How long a login lasts."""
_NOTE_SECONDS: Final = 60
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class Session:
    """A person who has logged in."""

    name: str
    """What they call themselves; it may be empty."""
    proof: str
    """Forms that were made for the session carry it."""


class Sessions:
    """Makes and reads the cookies. They are valid in this process only, and as long as their token is accepted."""

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.time) -> None:
        """Take a new key.

        Args:
            tokens: with which people log in.
            clock: seconds since 1970.
        """
        self._tokens = tokens
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def log_in(self, token: str, name: str) -> str | None:
        """Return the cookie of a new session; None: the token is not accepted.

        Args:
            token: what the person gave.
            name: what they call themselves, for others to read.
        """
        fingerprint = self._tokens.fingerprint(token)
        if fingerprint is None:
            return None
        shown = "".join(letter for letter in name.strip() if letter.isprintable())[:_LONGEST_NAME]
        return self._signed("session", [shown, fingerprint, secrets.token_hex(8)], SESSION_SECONDS)

    def read(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie; None: it is none, or has ended."""
        content = self._verified("session", cookie)
        if content is None or not self._tokens.is_current(content[1]):
            return None
        return Session(content[0], self._mac(f"form {cookie}"))

    def note(self, text: str) -> str:
        """Return the cookie that carries a sentence to the next page."""
        return self._signed("note", text, _NOTE_SECONDS)

    def read_note(self, cookie: str | None) -> str | None:
        """Return the sentence of a cookie; None: there is none."""
        text = self._verified("note", cookie)
        return text if isinstance(text, str) else None

    def _signed(self, purpose: str, content: Any, seconds: int) -> str:
        body = urlsafe_b64encode(orjson.dumps([round(self._clock()) + seconds, content])).decode()
        return f"{body}.{self._mac(f'{purpose} {body}')}"

    def _verified(self, purpose: str, cookie: str | None) -> Any:
        body, _, mac = (cookie or "").partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(f"{purpose} {body}").encode()):
            return None
        try:
            until, content = orjson.loads(urlsafe_b64decode(body))
        except (ValueError, Base64Error):
            return None
        return content if self._clock() < until else None

    def _mac(self, text: str) -> str:
        return hmac.new(self._key, text.encode(errors="replace"), hashlib.sha256).hexdigest()


class Attempts:
    """Bounds how many wrong tokens are looked at in a minute, whoever sends them."""

    def __init__(self, most: int = 20, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without one.

        Args:
            most: how many in a minute.
            clock: in seconds.
        """
        self._most = most
        self._clock = clock
        self._failed: list[float] = []

    def are_exhausted(self) -> bool:
        """Return whether no more are looked at for a while."""
        now = self._clock()
        self._failed = [at for at in self._failed if now - at < 60]
        return len(self._failed) >= self._most

    def failed(self) -> None:
        """Note a wrong token."""
        self._failed.append(self._clock())
