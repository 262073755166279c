"""The keys of the encryption: read from settings, checked, and made."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from delegator.config import Settings
from delegator.errors import ConfigurationError

_KEY_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_LEAST_VARIETY: Final = 16
"""Random keys have fewer different bytes than that once in more than 10^12 times."""
_HOW: Final = "a key is 32 random bytes as Base64: `delegator encryption-key ID` prints one"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key of AES-256, and the id by which encrypted payloads name it."""

    key_id: str
    """1 to 64 letters, digits, dots, dashes and underscores. It is readable in every encrypted payload."""
    secret: bytes = field(repr=False)
    """32 random bytes."""

    def __post_init__(self) -> None:
        if _ID.fullmatch(self.key_id) is None:
            raise ConfigurationError(
                f"encryption key {self.key_id!r}: an id is 1 to 64 letters, digits, dots, dashes and underscores"
            )
        if len(self.secret) != _KEY_BYTES or not _is_random(self.secret):
            raise ConfigurationError(f"encryption key {self.key_id!r}: this is no random key of 32 bytes; {_HOW}")

    @classmethod
    def new(cls, key_id: str) -> Self:
        """Return a new random key.

        Args:
            key_id: its id.

        Raises:
            ConfigurationError: `key_id` is no id.
        """
        return cls(key_id, secrets.token_bytes(_KEY_BYTES))

    @property
    def written(self) -> str:
        """The key as settings hold it: `ID:BASE64`."""
        return f"{self.key_id}:{b64encode(self.secret).decode()}"


class EncryptionKeys:
    """The keys of a deployment: the first one encrypts, all of them decrypt."""

    def __init__(self, keys: Iterable[EncryptionKey]) -> None:
        """Hold the keys.

        Args:
            keys: the current key, then older ones, and the next one while it is rolled out.

        Raises:
            ConfigurationError: there is no key, or two have the same id or the same secret.
        """
        self._keys = tuple(keys)
        if not self._keys:
            raise ConfigurationError("no encryption key is given: the first one encrypts, all of them decrypt")
        for index, key in enumerate(self._keys):
            for other in self._keys[:index]:
                if other.key_id == key.key_id:
                    raise ConfigurationError(f"encryption key {key.key_id!r} is given twice")
                if secrets.compare_digest(other.secret, key.secret):
                    raise ConfigurationError(f"encryption keys {other.key_id!r} and {key.key_id!r} are the same key")

    def __iter__(self) -> Iterator[EncryptionKey]:
        return iter(self._keys)

    def __repr__(self) -> str:
        return f"EncryptionKeys({', '.join(self.ids)})"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys, that of the one that encrypts first."""
        return tuple(key.key_id for key in self._keys)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read keys as settings hold them: `ID:BASE64`, separated by commas or line ends; `#` begins a comment.

        Args:
            text: the keys.

        Raises:
            ConfigurationError: a key is none. The message never holds what was given.
        """
        parts = (part.strip() for line in text.splitlines() for part in line.partition("#")[0].split(","))
        return cls(_parse(number, part) for number, part in enumerate(filter(None, parts), 1))

    @classmethod
    def load(cls, settings: Settings | None = None) -> Self:
        """Read the keys of `DELEGATOR_ENCRYPTION_KEYS` or `DELEGATOR_ENCRYPTION_KEYS_FILE`.

        Args:
            settings: the settings; None: those of the environment.

        Raises:
            ConfigurationError: there are none, or one is no key. The message names the setting.
        """
        settings = settings or Settings.load()
        variable, text = _given(settings)
        try:
            return cls.parse(text)
        except ConfigurationError as error:
            raise ConfigurationError(f"{variable}: {error}") from None


def is_key_id(text: str) -> bool:
    """Return whether a text may be the id of a key."""
    return _ID.fullmatch(text) is not None


def _parse(number: int, part: str) -> EncryptionKey:
    # What has another form is not quoted, not even the part that should be an id: it may be a secret.
    key_id, colon, secret = part.partition(":")
    if not colon:
        raise ConfigurationError(f"key number {number} has no id: write ID:BASE64; {_HOW}")
    # Base64 of random bytes has both cases. Words of a passphrase mostly have one.
    if _BASE64.fullmatch(secret) is None or secret in (secret.lower(), secret.upper()):
        raise ConfigurationError(f"key number {number} is no random key of 32 bytes; {_HOW}")
    return EncryptionKey(key_id, b64decode(secret))


def _is_random(secret: bytes) -> bool:
    """Return whether bytes may be random. Text is not, and repeated bytes are not."""
    return len(set(secret)) >= _LEAST_VARIETY and any(byte < 0x20 or byte > 0x7E for byte in secret)


def _given(settings: Settings) -> tuple[str, str]:
    """Return the variable that gives the keys, and the text."""
    file = settings.encryption_keys_file
    if settings.encryption_keys is not None and file is not None:
        raise ConfigurationError("give the keys by DELEGATOR_ENCRYPTION_KEYS or by DELEGATOR_ENCRYPTION_KEYS_FILE")
    if settings.encryption_keys is not None:
        return "DELEGATOR_ENCRYPTION_KEYS", settings.encryption_keys.get_secret_value()
    if file is None:
        raise ConfigurationError(
            "encryption has no keys: set DELEGATOR_ENCRYPTION_KEYS or DELEGATOR_ENCRYPTION_KEYS_FILE; " + _HOW
        )
    return f"DELEGATOR_ENCRYPTION_KEYS_FILE {file}", _text_of(file)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(f"DELEGATOR_ENCRYPTION_KEYS_FILE {file}: {reason}") from None
