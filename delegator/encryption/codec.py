"""The payload codec that encrypts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from delegator.encryption.keys import EncryptionKeys, is_key_id
from delegator.errors import ConfigurationError, UnreadablePayloadError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:
    raise ConfigurationError("encryption needs a package: pip install 'temporal-delegator[crypto]'") from error

_ENCODING: Final = b"binary/encrypted"
_KEY_ID: Final = "encryption-key-id"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_CURE: Final = "is the data converter the same here?"


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
        self._metadata = {"encoding": _ENCODING, _KEY_ID: self._current.encode()}
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
            self._decrypt(payload) if payload.metadata.get("encoding") == _ENCODING else payload for payload in payloads
        ]

    def _decrypt(self, payload: Payload) -> Payload:
        key_id = payload.metadata.get(_KEY_ID, b"").decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            named = repr(key_id) if is_key_id(key_id) else "that it names"
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
