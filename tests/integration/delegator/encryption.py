"""A data converter whose codec encrypts; name it in DELEGATOR_DATA_CONVERTER."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

_ENCODING = b"binary/encrypted"
_KEY = bytes(range(32))
_NONCE = 12


class EncryptionCodec(PayloadCodec):
    """AES-GCM over whole payloads."""

    def __init__(self, key: bytes = _KEY) -> None:
        self._cipher = AESGCM(key)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": _ENCODING}, data=self._encrypt(p)) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypt(p.data) if p.metadata.get("encoding") == _ENCODING else p for p in payloads]

    def _encrypt(self, payload: Payload) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, payload.SerializeToString(), None)

    def _decrypt(self, data: bytes) -> Payload:
        return Payload.FromString(self._cipher.decrypt(data[:_NONCE], data[_NONCE:], None))


converter = dataclasses.replace(
    DataConverter.default,
    payload_codec=EncryptionCodec(),
    failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
)
other_key = dataclasses.replace(converter, payload_codec=EncryptionCodec(bytes(32)))
"""The converter of a worker that was deployed with another key."""
