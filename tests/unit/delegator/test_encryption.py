"""The codec that encrypts: its form, its keys, and what it says when a key is missing."""

from __future__ import annotations

import dataclasses
import os
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes

from delegator.config import Settings
from delegator.encryption import EncryptionCodec, EncryptionKey, EncryptionKeys, encrypted
from delegator.errors import ConfigurationError, UnreadablePayloadError
from delegator.runtime.temporal_client import load_data_converter

OLD, NEW = EncryptionKey.new("2026-06"), EncryptionKey.new("2026-12")
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a secret"')


def codec(*keys: EncryptionKey) -> EncryptionCodec:
    return EncryptionCodec(EncryptionKeys(keys))


@given(data=st.binary(max_size=300), metadata=st.dictionaries(st.text(max_size=8), st.binary(max_size=20), max_size=3))
async def test_round_trip(data: bytes, metadata: dict[str, bytes]) -> None:
    """What is decoded is what was encoded; nothing of it is readable; equal payloads are encrypted differently."""
    payload = Payload(metadata=metadata, data=b"a known beginning" + data)
    one, two = await codec(NEW, OLD).encode([payload, payload])
    assert one.data != two.data
    assert b"known beginning" not in one.SerializeToString()
    assert await codec(NEW).decode([one, two]) == [payload, payload]


async def test_form() -> None:
    """The form is that of the samples of Temporal's SDKs: nonce, text and tag, with the key's id beside them."""
    (payload,) = await codec(NEW).encode([PLAIN])
    assert dict(payload.metadata) == {"encoding": b"binary/encrypted", "encryption-key-id": b"2026-12"}
    cipher = AESGCM(NEW.secret)
    assert Payload.FromString(cipher.decrypt(payload.data[:12], payload.data[12:], None)) == PLAIN
    nonce = os.urandom(12)
    foreign = Payload(metadata=payload.metadata, data=nonce + cipher.encrypt(nonce, PLAIN.SerializeToString(), None))
    assert await codec(NEW).decode([foreign]) == [PLAIN]


async def test_rotation() -> None:
    """The first key encrypts, all of them decrypt; what was not encrypted is left as it is."""
    before, after = codec(OLD, NEW), codec(NEW, OLD)
    old, new = [*await before.encode([PLAIN]), *await after.encode([PLAIN])]
    assert [payload.metadata["encryption-key-id"] for payload in (old, new)] == [b"2026-06", b"2026-12"]
    for each in (before, after):
        assert await each.decode([old, new, PLAIN]) == [PLAIN, PLAIN, PLAIN]


async def test_unreadable() -> None:
    """A missing key, another key and changed bytes are said so; the text holds ids of keys, and no key."""
    (payload,) = await codec(NEW).encode([PLAIN])
    other = EncryptionKey.new(NEW.key_id)
    changed = Payload(metadata=payload.metadata, data=payload.data[:-1] + bytes([payload.data[-1] ^ 1]))
    short = Payload(metadata=payload.metadata, data=b"short")
    nameless = Payload(metadata={"encoding": b"binary/encrypted"}, data=payload.data)
    for given_codec, given_payload, words in (
        (codec(OLD), payload, "key '2026-12' is not among the keys '2026-06'"),
        (codec(other), payload, "key '2026-12' here is not the key that encrypted it"),
        (codec(NEW), changed, "it was changed"),
        (codec(NEW), short, "5 bytes are too few"),
        (codec(NEW), nameless, "is not among the keys"),
    ):
        with pytest.raises(UnreadablePayloadError, match=words) as refused:
            await given_codec.decode([given_payload])
        assert str(refused.value).startswith("encrypted payload: ")
        assert b64encode(OLD.secret).decode() not in str(refused.value)


SPOILED = [
    "correct horse battery staple",
    "id:correct horse battery staple",
    "id:correcthorsebatterystaplecorrecthorsebatte=",
    f"id:{b64encode(b'correct horse battery staple abc').decode()}",
    f"id:{b64encode(bytes(32)).decode()}",
    f"id:{b64encode(os.urandom(16)).decode()}",
    f"id:{b64encode(os.urandom(33)).decode()}",
    NEW.written.partition(":")[2],
    f":{NEW.written.partition(':')[2]}",
    f"an id:{NEW.written.partition(':')[2]}",
    f"{NEW.written},{EncryptionKey.new(NEW.key_id).written}",
    f"{NEW.written}, other:{NEW.written.partition(':')[2]}",
    " # nothing",
]


@pytest.mark.parametrize("text", SPOILED, ids=range(len(SPOILED)))
def test_wrong_keys(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A passphrase, a short key and two equal keys are refused by the setting's name. What was given is not shown."""
    monkeypatch.setenv("DELEGATOR_ENCRYPTION_KEYS", text)
    with pytest.raises(ConfigurationError) as refused:
        load_data_converter("delegator.encryption:data_converter")
    message = str(refused.value)
    assert message.startswith("DELEGATOR_DATA_CONVERTER delegator.encryption:data_converter: ")
    assert "DELEGATOR_ENCRYPTION_KEYS: " in message and "\n" not in message
    for word in text.replace(",", ":").split(":")[1:]:
        assert len(word) < 8 or word.strip() not in message
    assert "horse" not in message


def test_keys_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file holds a key a line, with comments; both settings at once, and neither, are refused."""
    file = tmp_path / "keys"
    file.write_text(f"# since December\n{NEW.written}\n\n{OLD.written}  # until January\n")
    with pytest.raises(ConfigurationError, match="encryption has no keys: set DELEGATOR_ENCRYPTION_KEYS"):
        EncryptionKeys.load()
    monkeypatch.setenv("DELEGATOR_ENCRYPTION_KEYS_FILE", str(file))
    monkeypatch.setenv("DELEGATOR_ENCRYPTION_KEYS", "")
    assert EncryptionKeys.load().ids == ("2026-12", "2026-06")
    assert load_data_converter("delegator.encryption:data_converter").payload_codec is not None
    monkeypatch.setenv("DELEGATOR_ENCRYPTION_KEYS", f"{OLD.written},{NEW.written}")
    with pytest.raises(ConfigurationError, match="or by DELEGATOR_ENCRYPTION_KEYS_FILE"):
        EncryptionKeys.load()
    monkeypatch.delenv("DELEGATOR_ENCRYPTION_KEYS_FILE")
    assert EncryptionKeys.load().ids == ("2026-06", "2026-12")
    monkeypatch.delenv("DELEGATOR_ENCRYPTION_KEYS")
    with pytest.raises(ConfigurationError, match="/nowhere: No such file or directory"):
        EncryptionKeys.load(Settings(encryption_keys_file=Path("/nowhere")))


def test_nothing_shows_a_key() -> None:
    """A key is in no repr: neither of the key, nor of the keys, nor of the settings."""
    settings = Settings(encryption_keys=NEW.written)  # type: ignore[arg-type]
    for shown in (repr(NEW), repr(EncryptionKeys([NEW])), repr(settings), str(settings.model_dump())):
        assert NEW.written.partition(":")[2] not in shown and repr(NEW.secret) not in shown


def test_converters() -> None:
    """Any payload converter can be given encryption; a codec that is there already is not thrown away."""
    keys = EncryptionKeys([NEW])
    made = encrypted(pydantic_data_converter, keys)
    assert made.payload_converter_class is pydantic_data_converter.payload_converter_class
    assert made.failure_converter_class is DefaultFailureConverterWithEncodedAttributes
    with pytest.raises(ConfigurationError, match="a payload codec already"):
        encrypted(made, keys)
    own = dataclasses.replace(
        DataConverter.default,
        failure_converter_class=type("Own", (DataConverter.default.failure_converter_class,), {}),
    )
    with pytest.raises(ConfigurationError, match="a failure converter already"):
        encrypted(own, keys)
