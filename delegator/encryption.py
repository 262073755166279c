"""A payload codec that encrypts with AES-256-GCM, its keys, and a data converter that uses them.

Name `delegator.encryption:data_converter` in `DELEGATOR_DATA_CONVERTER`, or give `encrypted(converter)` to a client.

The form of an encrypted payload is that of the encryption samples of Temporal's SDKs, so that workers in other
languages can share it: `encoding` is `binary/encrypted`, `encryption-key-id` names the key, and the data is a nonce of
12 bytes, the encrypted serialized `Payload`, and the tag of 16 bytes.
See https://github.com/temporalio/samples-python/tree/main/encryption
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

from delegator.config import Settings
from delegator.errors import ConfigurationError, UnreadablePayloadError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:
    raise ConfigurationError("encryption needs a package: pip install 'temporal-delegator[crypto]'") from error

__all__ = ["EncryptionCodec", "EncryptionKey", "EncryptionKeys", "data_converter", "encrypted"]

ENCODING: Final = b"binary/encrypted"
_KEY_ID: Final = "encryption-key-id"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_LEAST_VARIETY: Final = 16
"""Random keys have fewer different bytes than that once in more than 10^12 times."""
_HOW: Final = "a key is 32 random bytes as Base64: `delegator encryption-key ID` prints one"
_CURE: Final = "is the data converter the same here?"


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


class EncryptionCodec(PayloadCodec):
    """Encrypts whole payloads: values, their metadata, and failures in encoded form.

    A payload that is not encrypted is returned as it is by `decode`, so that encryption can be switched on while
    workflows run. It says nothing about who wrote a payload; it keeps secret what one holds.
    """

    def __init__(self, keys: EncryptionKeys) -> None:
        """Prepare the codec.

        Args:
            keys: the first one encrypts, all of them decrypt.
        """
        self._current, *_ = keys.ids
        self._metadata = {"encoding": ENCODING, _KEY_ID: self._current.encode()}
        self._ciphers = {key.key_id: AESGCM(key.secret) for key in keys}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt payloads with the first key."""
        cipher = self._ciphers[self._current]
        encoded = []
        for payload in payloads:
            nonce = os.urandom(_NONCE_BYTES)
            data = nonce + cipher.encrypt(nonce, payload.SerializeToString(), None)
            encoded.append(Payload(metadata=self._metadata, data=data))
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt payloads, each with the key that it names. Others are returned as they are.

        Raises:
            UnreadablePayloadError: the key is missing or another one, or the payload was changed.
        """
        return [
            self._decrypt(payload) if payload.metadata.get("encoding") == ENCODING else payload for payload in payloads
        ]

    def _decrypt(self, payload: Payload) -> Payload:
        key_id = payload.metadata.get(_KEY_ID, b"").decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            named = repr(key_id) if _ID.fullmatch(key_id) else "that it names"
            known = ", ".join(map(repr, self._ciphers))
            raise UnreadablePayloadError(f"encrypted payload: key {named} is not among the keys {known}; {_CURE}")
        data = payload.data
        if len(data) < _NONCE_BYTES + _TAG_BYTES:
            raise UnreadablePayloadError(f"encrypted payload: {len(data)} bytes are too few")
        try:
            return Payload.FromString(cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], None))
        except (InvalidTag, DecodeError):
            raise UnreadablePayloadError(
                f"encrypted payload: key {key_id!r} here is not the key that encrypted it, or it was changed; {_CURE}"
            ) from None


def encrypted(converter: DataConverter = DataConverter.default, keys: EncryptionKeys | None = None) -> DataConverter:
    """Return a data converter that encrypts what another one has converted, messages and stack traces of failures too.

    Args:
        converter: converts values; its payload codec and its failure converter must be Temporal's default ones.
        keys: the first one encrypts, all of them decrypt; None: those of the settings.

    Raises:
        ConfigurationError: the converter has a payload codec or a failure converter already, or the keys are wrong.
    """
    if converter.payload_codec is not None:
        raise ConfigurationError("the data converter has a payload codec already; one that calls both is yours to make")
    failures = DataConverter.default.failure_converter_class
    if converter.failure_converter_class not in (failures, DefaultFailureConverterWithEncodedAttributes):
        raise ConfigurationError(
            "the data converter has a failure converter already; give that one to `dataclasses.replace` afterwards"
        )
    return dataclasses.replace(
        converter,
        payload_codec=EncryptionCodec(EncryptionKeys.load() if keys is None else keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def data_converter() -> DataConverter:
    """Return Temporal's default data converter with encryption, for `DELEGATOR_DATA_CONVERTER`.

    Raises:
        ConfigurationError: the keys are missing or wrong. The message names the setting.
    """
    return encrypted()


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
