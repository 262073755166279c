"""Data converters whose every part depends on its serialization context, and one with an external storage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    ActivitySerializationContext,
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    ExternalStorage,
    JSONPlainPayloadConverter,
    PayloadCodec,
    PayloadConverter,
    SerializationContext,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

STORAGE_VARIABLE = "DELEGATOR_TEST_STORAGE"
"""Names the folder of stored payloads. While a file `storage-fails` is in it, nothing can be stored."""
THRESHOLD = 2_000


def label(context: SerializationContext | None) -> str:
    """Return what both sides of a payload must agree on."""
    if isinstance(context, ActivitySerializationContext):
        known = dataclasses.replace(context, activity_id="")
        assert all(value is not None for value in dataclasses.astuple(known)), context
        return f"{known}"
    if isinstance(context, WorkflowSerializationContext):
        return f"{context}"
    raise ValueError("there is no serialization context")


def check(payload: Payload, key: str, context: SerializationContext | None) -> None:
    written = payload.metadata[key].decode()
    if written != label(context):
        raise ValueError(f"written for {written}, read for {label(context)}")


class BoundCodec(PayloadCodec, WithSerializationContext):
    """Hides data, and notes for whom."""

    context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> Self:
        bound = type(self)()
        bound.context = context
        return bound

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        metadata = {"encoding": b"binary/hidden", "codec": label(self.context).encode()}
        return [Payload(metadata=metadata, data=payload.SerializeToString()[::-1]) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        for payload in payloads:
            check(payload, "codec", self.context)
        return [Payload.FromString(payload.data[::-1]) for payload in payloads]


class BoundJSON(JSONPlainPayloadConverter, WithSerializationContext):
    """Notes for whom a value is converted."""

    def __init__(self) -> None:
        super().__init__()
        self.context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> Self:
        bound = type(self)()
        bound.context = context
        return bound

    def to_payload(self, value: Any) -> Payload | None:
        payload = super().to_payload(value)
        if payload is not None:
            payload.metadata["converter"] = label(self.context).encode()
        return payload

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        check(payload, "converter", self.context)
        return super().from_payload(payload, type_hint)


class BoundPayloadConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        *others, _ = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*others, BoundJSON())


class BoundFailureConverter(DefaultFailureConverter, WithSerializationContext):
    """Fails without a context."""

    context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> Self:
        bound = type(self)()
        bound.context = context
        return bound

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        label(self.context)
        super().to_failure(exception, payload_converter, failure)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        label(self.context)
        return super().from_failure(failure, payload_converter)


class Files(StorageDriver):
    """Stores payloads in files that all processes of a test see."""

    def name(self) -> str:
        return "files"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        if (folder() / "storage-fails").exists():
            raise OSError("the storage is full")
        return [StorageDriverClaim(claim_data={"file": keep(payload, context)}) for payload in payloads]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [Payload.FromString((folder() / claim.claim_data["file"]).read_bytes()) for claim in claims]


def keep(payload: Payload, context: StorageDriverStoreContext) -> str:
    data = payload.SerializeToString()
    name = f"stored-{hashlib.sha256(data).hexdigest()}"
    (folder() / name).write_bytes(data)
    target = context.target
    noted = {"kind": type(target).__name__, **(dataclasses.asdict(target) if target is not None else {})}
    with (folder() / "targets").open("a") as targets:
        targets.write(json.dumps(noted) + "\n")
    return name


def folder() -> Path:
    return Path(os.environ[STORAGE_VARIABLE])


bound = DataConverter(
    payload_converter_class=BoundPayloadConverter,
    failure_converter_class=BoundFailureConverter,
    payload_codec=BoundCodec(),
)
# With an external storage the SDK (1.35) gives payload and failure converters no context.
stored = DataConverter(
    payload_codec=BoundCodec(),
    external_storage=ExternalStorage(drivers=[Files()], payload_size_threshold=THRESHOLD),
)
