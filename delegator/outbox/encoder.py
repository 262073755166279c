"""Encodes what an application asks for as the rows of a statement."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from delegator_schema.options import (
    CODEC_PROBE,
    INLINE_WAIT_MS,
    SCHEDULE_TO_CLOSE_MS,
    SCHEDULE_TO_START_MS,
    START_DELAY_MS,
)
from delegator_schema.outbox import MAX_INPUT_BYTES, NO_WAITER, SIGNAL, SIGNAL_WITH_START, START
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Header, Memo, Payload, Payloads
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.converter import DataConverter

from delegator.config import Settings
from delegator.outbox.jobs import PlainJob
from delegator.outbox.workflows import Asked
from delegator.postgres.outbox_write import insert_jobs, insert_operations
from delegator.wire.codec import encode_header, encode_payloads
from delegator.wire.contexts import Conversion, Conversions, row_origin
from delegator.wire.options import encode_options
from delegator.wire.probe import make_probe

_MILLISECONDS: Final = 1000
_NAMES: Final = {START: "StartWorkflow", SIGNAL: "SignalWorkflow", SIGNAL_WITH_START: "SignalWithStartWorkflow"}
"""Operations that have a header, as the SDK names their spans."""

Headers = Callable[[str], Mapping[str, Payload]]
"""Returns the headers of what an outbox writes, by its name, such as `StartWorkflow:Order`."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with its parameter."""

    sql: str
    """The statement. `{rows}` stands for the parameter."""
    rows: str
    """The parameter."""


class Encoder:
    """Makes statements. Nothing in them is readable if the data converter has a payload codec."""

    def __init__(
        self,
        converter: DataConverter,
        settings: Settings,
        *,
        namespace: str | None,
        schema: str,
        notify: bool,
        headers: Headers | None = None,
    ) -> None:
        """Prepare.

        Args:
            converter: the client's data converter.
            settings: the declared queues.
            namespace: Temporal's namespace; None: that of the maintenance process.
            schema: where the engine's tables are.
            notify: wake the maintenance process when the transaction commits.
            headers: returns the headers of an operation or of a job, by its name; None: they have none.
        """
        self._headers = headers
        self._conversions = Conversions(converter)
        self._payload_codec = converter.payload_codec
        self._ordered = frozenset(settings.ordered_queues)
        self._namespace = namespace
        self._schema = schema
        self._notify = notify
        self._operations = insert_operations(schema, notify=notify)
        self._jobs: dict[tuple[str, bool], str] = {}
        self._probe: str | None = None

    @property
    def waits(self) -> bool:
        """Whether encoding may wait: there is a payload codec or an external storage."""
        return self._conversions.shared.codec is not None

    async def operation(self, asked: Asked) -> Statement:
        """Return the statement that writes an operation on a workflow.

        Raises:
            ValueError: the payloads have more than 2 MB.
            Exception: what the data converter raises.
        """
        conversion = self._conversions.of_workflow(self._namespace or "default", asked.workflow_id, None)
        encoded = await _encoded(conversion, asked.args)
        signal = await _encoded(conversion, asked.signal_args)
        options = {**asked.options, **await _described(conversion, asked)}
        if self._headers is not None and asked.operation in _NAMES:
            name = f"{_NAMES[asked.operation]}:{asked.workflow_type or asked.name}"
            options["header"] = MessageToDict(Header(fields=self._headers(name)))
        _refuse_large(asked.workflow_type or asked.name or asked.operation, encoded, signal, orjson.dumps(options))
        row = {
            "operation": asked.operation,
            "namespace": self._namespace,
            "workflow_id": asked.workflow_id,
            "workflow_type": asked.workflow_type,
            "task_queue": asked.task_queue,
            "name": asked.name,
            "input": _text(encoded),
            "signal_input": _text(signal),
            "options": options or None,
            "request_id": asked.request_id(self._namespace) or str(uuid.uuid4()),
            "key": asked.key,
        }
        return Statement(self._operations, orjson.dumps([row]).decode())

    async def jobs(self, jobs: Sequence[PlainJob]) -> tuple[list[Statement], list[str]]:
        """Return the statements that enqueue jobs, one for each queue, and the ids of the jobs.

        A job whose id was there before in `jobs` is left out.

        Raises:
            ValueError: the arguments of a job have more than 2 MB.
            Exception: what the data converter raises.
        """
        by_queue: dict[str, list[dict[str, Any]]] = {}
        ids: list[str] = []
        seen: set[tuple[str, str]] = set()
        if self._probe is None and self._payload_codec is not None:
            self._probe = await make_probe(self._payload_codec)
        for job in jobs:
            job_id = job.job_id or str(uuid.uuid4())
            ids.append(job_id)
            if (job.type.queue, job_id) not in seen:
                seen.add((job.type.queue, job_id))
                by_queue.setdefault(job.type.queue, []).append(await self._job(job, job_id))
        return [self._enqueue(queue, rows) for queue, rows in by_queue.items()], ids

    async def _job(self, job: PlainJob, job_id: str) -> dict[str, Any]:
        name = job.type.name
        conversion = self._conversions.of(
            row_origin(job_id=job_id, job_type=name, namespace=None, workflow_id=None, run_id=None, options=None)
        )
        data = await _encoded(conversion, job.args)
        _refuse_large(name, data)
        options: dict[str, Any] = {} if self._probe is None else {CODEC_PROBE: self._probe}
        options |= encode_options(job.options) or {}
        options.pop(INLINE_WAIT_MS, None)
        delay_ms = options.get(START_DELAY_MS, 0)
        limits = [ms + delay_ms for key in (SCHEDULE_TO_CLOSE_MS, SCHEDULE_TO_START_MS) if (ms := options.get(key))]
        unique_for = job.unique_for
        return {
            "job_id": job_id,
            "job_type": name,
            "input": _text(data),
            "options": options or None,
            "deadline_ms": min(limits, default=None),
            "due_at": None if job.due_at is None else job.due_at.isoformat(),
            "unique_ms": None if unique_for is None else max(1, round(unique_for.total_seconds() * _MILLISECONDS)),
            "waiter_id": NO_WAITER if job.keep_result else None,
            "header": _text(await self._header(name, conversion)),
        }

    async def _header(self, job_type: str, conversion: Conversion) -> bytes:
        if self._headers is None:
            return b""
        header = Header(fields=self._headers(f"EnqueueJob:{job_type}"))
        return await encode_header(header.SerializeToString(), conversion.codec)

    def _enqueue(self, queue: str, rows: list[dict[str, Any]]) -> Statement:
        unique = any(row["unique_ms"] is not None for row in rows)
        sql = self._jobs.get((queue, unique))
        if sql is None:
            sql = insert_jobs(self._schema, queue, ordered=queue in self._ordered, unique=unique, notify=self._notify)
            self._jobs[queue, unique] = sql
        return Statement(sql, orjson.dumps(rows).decode())


async def _encoded(conversion: Conversion, values: Sequence[Any]) -> bytes:
    data = conversion.values.encode(values)
    return await encode_payloads(data, conversion.codec_for(len(data)))


async def _described(conversion: Conversion, asked: Asked) -> dict[str, Any]:
    """Return memo, summary and details as fields of Temporal's request."""
    request = StartWorkflowExecutionRequest()
    for name, value in (asked.memo or {}).items():
        memo = Memo()
        memo.fields[name].CopyFrom(await _payload(conversion, value))
        request.memo.MergeFrom(memo)
    metadata = UserMetadata()
    if asked.summary is not None:
        metadata.summary.CopyFrom(await _payload(conversion, asked.summary))
    if asked.details is not None:
        metadata.details.CopyFrom(await _payload(conversion, asked.details))
    if metadata.ByteSize():
        request.user_metadata.CopyFrom(metadata)
    fields: dict[str, Any] = MessageToDict(request)
    return fields


async def _payload(conversion: Conversion, value: Any) -> Any:
    return Payloads.FromString(await _encoded(conversion, [value])).payloads[0]


def _refuse_large(name: str, *parts: bytes) -> None:
    size = sum(map(len, parts))
    if size > MAX_INPUT_BYTES:
        raise ValueError(
            f"the payloads for {name} have {size} bytes, more than Temporal's limit of {MAX_INPUT_BYTES}: store the "
            "data elsewhere, and pass where it is"
        )


def _text(data: bytes) -> str | None:
    return base64.b64encode(data).decode() if data else None
