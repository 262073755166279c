"""Data converters bound to a job: serialization contexts, payload codec and external storage.

The SDK binds a data converter to each activity (`temporalio.converter.WithSerializationContext`), so that a converter
or a codec can depend on the workflow or on the activity. Here the same contexts are made for delegated jobs. A data
converter that uses no context is never bound, so the usual ones cost nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol, Self

import orjson
from delegator_schema.options import ACTIVITY_ID, TASK_QUEUE, WORKFLOW_TYPE
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import (
    ActivitySerializationContext,
    CompositePayloadConverter,
    DataConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from delegator.wire.requests import activity_run_in
from delegator.wire.values import ValueConverter, is_default

_LARGE_BYTES: Final = 256 * 1024


class JobOrigin(NamedTuple):
    """What a serialization context says of a job."""

    namespace: str
    """The namespace of the workflow."""
    workflow_id: str | None
    """The workflow; None: no workflow waits for the job."""
    run_id: str | None
    """Its run, or that of an activity without a workflow. Only an external storage is told."""
    workflow_type: str | None
    """Its type."""
    job_type: str
    """The delegated activity type."""
    activity_id: str | None
    """The id of the activity; None: workflow code gave none."""
    task_queue: str | None
    """The task queue of the call, as for an ordinary activity: by default that of the workflow."""

    @property
    def context(self) -> SerializationContext:
        """The activity's serialization context."""
        return ActivitySerializationContext(
            namespace=self.namespace,
            activity_id=self.activity_id,
            activity_type=self.job_type,
            activity_task_queue=self.task_queue,
            workflow_id=self.workflow_id,
            workflow_type=self.workflow_type,
            is_local=False,
        )


class JobRow(Protocol):
    """A row as a statement returned it: the columns that say where its job comes from."""

    @property
    def job_id(self) -> str:
        """The column."""

    @property
    def job_type(self) -> str:
        """The column."""

    @property
    def namespace(self) -> str | None:
        """The column."""

    @property
    def workflow_id(self) -> str | None:
        """The column."""

    @property
    def run_id(self) -> str | None:
        """The column, as text."""

    @property
    def options(self) -> str | None:
        """The column, as text."""


class Conversion(NamedTuple):
    """How the payloads of one job are converted and encoded."""

    converter: DataConverter
    """The data converter, bound to the job if it uses a context."""
    values: ValueConverter
    """Its payload converter."""
    codec: PayloadCodec | None
    """What encodes payloads for storage: the payload codec, then the external storage. None: there is neither."""

    def codec_for(self, size_bytes: int) -> PayloadCodec | None:
        """Return what encodes a message of this size. A small one is not stored, so a full storage does not stop it."""
        return self.codec if size_bytes > _LARGE_BYTES else self.converter.payload_codec

    @classmethod
    def by(cls, converter: DataConverter, target: Callable[[], Any] = lambda: None) -> Self:
        """Return the conversion by a data converter.

        Args:
            converter: the data converter.
            target: returns the workflow or activity that payloads are stored for.
        """
        values = ValueConverter(converter.payload_converter, is_default=is_default(converter))
        return cls(converter, values, codec_of(converter, target))


class Conversions:
    """Gives each job its conversion. Jobs share one if the data converter uses no context."""

    def __init__(self, converter: DataConverter) -> None:
        """Prepare.

        Args:
            converter: the client's data converter.
        """
        self._converter = converter
        self.shared: Final = Conversion.by(converter)
        """The conversion without a context."""
        self.uses_contexts: Final = uses_contexts(converter)
        """Whether jobs have conversions of their own."""

    def of(self, origin: JobOrigin) -> Conversion:
        """Return the conversion of a job."""
        if not self.uses_contexts:
            return self.shared
        bound = self._converter.with_context(origin.context)
        return Conversion.by(bound, lambda: _target_of(origin))

    def of_row(self, row: JobRow) -> Conversion:
        """Return the conversion of a job by its row. The row is not read if the data converter uses no context."""
        return self.of(origin_of(row)) if self.uses_contexts else self.shared

    def of_workflow(self, namespace: str, workflow_id: str, run_id: str | None) -> Conversion:
        """Return the conversion of signals to a workflow."""
        if not self.uses_contexts:
            return self.shared
        bound = self._converter.with_context(WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id))
        return Conversion.by(bound, lambda: _workflow_info(namespace, workflow_id, run_id, None))


def uses_contexts(converter: DataConverter) -> bool:
    """Return whether a data converter may depend on a serialization context."""
    if _storage_of(converter) is not None:
        return True
    parts: list[object] = [converter.payload_codec, converter.failure_converter]
    payloads = converter.payload_converter_class()
    if getattr(type(payloads), "with_context", None) is CompositePayloadConverter.with_context:
        assert isinstance(payloads, CompositePayloadConverter)
        parts += payloads.converters.values()
    else:
        parts.append(payloads)
    return any(isinstance(part, WithSerializationContext) for part in parts)


def codec_of(converter: DataConverter, target: Callable[[], Any] = lambda: None) -> PayloadCodec | None:
    """Return what encodes payloads for storage: the payload codec, then the external storage.

    Args:
        converter: the data converter.
        target: returns the workflow or activity that payloads are stored for.
    """
    storage = _storage_of(converter)
    if storage is None:
        return converter.payload_codec
    from temporalio.converter import StorageDriverStoreContext

    # The SDK has no public way to say for whom a payload is stored.
    bind = getattr(storage, "_with_store_context", None)
    if bind is not None:
        storage = bind(StorageDriverStoreContext(target=target()))
    return _StoringCodec(
        dataclasses.replace(DataConverter.default, payload_codec=converter.payload_codec, external_storage=storage)
    )


class _StoringCodec(PayloadCodec):
    """A codec that also stores large payloads, and leaves references in their places."""

    def __init__(self, converter: DataConverter) -> None:
        """Prepare.

        Args:
            converter: passes payloads unchanged to its codec and to its external storage.
        """
        self._converter = converter

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._converter.encode([RawValue(payload) for payload in payloads])

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        values = await self._converter.decode(payloads, [RawValue] * len(payloads))
        return [value.payload for value in values]


def _storage_of(converter: DataConverter) -> Any:
    return getattr(converter, "external_storage", None)  # early releases of the SDK have none


def _target_of(origin: JobOrigin) -> Any:
    """Return for whom a job's payloads are stored, as for an ordinary activity: its workflow, if it has one."""
    if origin.workflow_id is not None:
        return _workflow_info(origin.namespace, origin.workflow_id, origin.run_id, origin.workflow_type)
    from temporalio.converter import StorageDriverActivityInfo

    return StorageDriverActivityInfo(
        namespace=origin.namespace, id=origin.activity_id, run_id=origin.run_id, type=origin.job_type
    )


def _workflow_info(namespace: str, workflow_id: str, run_id: str | None, workflow_type: str | None) -> Any:
    from temporalio.converter import StorageDriverWorkflowInfo

    return StorageDriverWorkflowInfo(namespace=namespace, id=workflow_id, run_id=run_id, type=workflow_type)


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What a row's `options` say of its call."""

    workflow_type: str | None = None
    """The workflow's type; None: not known."""
    task_queue: str | None = None
    """The call's task queue; None: not known."""
    activity_id: str | None = None
    """The caller's id of the activity; None: it gave none."""


_NO_FACTS: Final = RowFacts()


@lru_cache(maxsize=1024)
def row_facts(options: str | None) -> RowFacts:
    """Return what the text of an `options` column says of the workflow."""
    try:
        encoded = orjson.loads(options) if options is not None else {}
        return RowFacts(*(_text(encoded.get(key)) for key in (WORKFLOW_TYPE, TASK_QUEUE, ACTIVITY_ID)))
    except (AttributeError, ValueError):
        return _NO_FACTS


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def row_origin(
    *,
    job_id: str,
    job_type: str,
    namespace: str | None,
    workflow_id: str | None,
    run_id: str | None,
    options: str | None,
) -> JobOrigin:
    """Return the origin of a job by its row.

    Args:
        job_id: the row's columns.
        job_type: as above.
        namespace: as above.
        workflow_id: as above.
        run_id: as above.
        options: the text of the column.
    """
    facts = row_facts(options)
    return JobOrigin(
        namespace or "",
        workflow_id,
        run_id if workflow_id is not None else activity_run_in(job_id),
        facts.workflow_type,
        job_type,
        facts.activity_id or job_id,
        facts.task_queue,
    )


def origin_of(row: JobRow) -> JobOrigin:
    """Return the origin of a job by its row as a statement returned it."""
    return row_origin(
        job_id=row.job_id,
        job_type=row.job_type,
        namespace=row.namespace,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        options=row.options,
    )
