"""Both ends of an attempt: a claimed row becomes a job for a worker, and what the worker says an ended attempt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.message import DecodeError
from msgspec import UNSET, Raw, UnsetType
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError, TimeoutType

from delegator.completion.failures import MAX_OUTCOME_BYTES, canceled, failure_of, timed_out, within_limit
from delegator.errors import UnreadablePayloadError, WireError
from delegator.gateway import job_tokens, payload_forms
from delegator.gateway.calls import call_of
from delegator.gateway.job_tokens import JobToken
from delegator.postgres.dead_letters import Reason
from delegator.postgres.queue_table import Claimed
from delegator.wire.codec import decode_payloads, encode_payloads
from delegator.wire.contexts import Conversions
from delegator.wire.probe import ProbeReader
from delegator.wire.raw_payloads import raw_payloads
from delegator.wire.worker_protocol import TIMEOUTS, Completion, JobFailure, RawPayload
from delegator.wire.worker_protocol import Job as JobBody
from http_workers.attempt import Ended
from http_workers.job import Job

_TOO_NEW_SNOOZE: Final = timedelta(seconds=10)
_SOURCE: Final = "HttpWorker"
_OWN_LIMITS_SECONDS: Final = 2.0
"""How much later than its limit the gateway times an attempt out whose worker knows what the caller has set."""


class EntryError(Exception):
    """An entry of a request that can't be taken."""

    def __init__(self, code: str, detail: str) -> None:
        """Take what is wrong.

        Args:
            code: its stable name.
            detail: for people.
        """
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt for a worker."""

    token: JobToken
    """Names it."""
    body: JobBody
    """What the worker gets."""
    lease_seconds: float
    """How long it may be silent."""


class Attempts:
    """Reads rows for workers, and makes ended attempts of what workers say. It touches no server."""

    def __init__(self, queue: str, converter: DataConverter) -> None:
        """Prepare.

        Args:
            queue: the queue.
            converter: the data converter; its codec is applied to JSON values.
        """
        self._queue = queue
        self._converter = converter
        self._conversions = Conversions(converter)
        self._probes = ProbeReader(converter.payload_codec)

    @property
    def has_codec(self) -> bool:
        """Whether this gateway decodes and encodes payloads."""
        return self._conversions.uses_contexts or self._conversions.shared.codec is not None

    async def begin(self, job: Job, *, raw: bool, call: bool, lease_seconds: float) -> Begun | Ended:
        """Return a claimed job for a worker, or its end if no worker can begin it here. It does not raise.

        Args:
            job: the job.
            raw: whether the worker wants payloads as they are stored.
            call: whether it wants to know what else the caller has set.
            lease_seconds: how long it may be silent.
        """
        if job.too_new is not None:
            return Ended(job, snooze=_TOO_NEW_SNOOZE)
        if job.broken is not None:
            return self._refused(job, Reason.UNDECODABLE, ApplicationError(job.broken))
        if job.cancel_requested:
            return Ended(job, failure=canceled())
        try:
            args, payloads, details = await self._read(job, raw=raw)
            told = await call_of(job, self._codec_of(job.row), raw=raw) if call else None
        except Exception as error:  # a codec may raise any error
            undecodable = ApplicationError("Failed decoding arguments")
            undecodable.__cause__ = error
            problem = str(error) if isinstance(error, WireError) else ""
            reason = Reason.LOCKED if isinstance(error, UnreadablePayloadError) else Reason.UNDECODABLE
            return self._refused(job, reason, undecodable, problem)
        row = job.row
        options = job.options
        started = time.time()
        timeout = _least_seconds(options.start_to_close_timeout, row.deadline_ms)
        if options.heartbeat_timeout is not None and row.task_token is None:
            lease_seconds = min(lease_seconds, options.heartbeat_timeout.total_seconds())
        # A worker that knows the limits finds them exceeded itself, and knows more of the attempt.
        grace = _OWN_LIMITS_SECONDS if call else 0.0
        until_ms = None if timeout is None else int((started + timeout + grace) * 1000)
        token = JobToken(self._queue, job.job_id, job.fencing_token, int(started * 1000), until_ms)
        body = JobBody(
            token=job_tokens.pack(token),
            job_id=job.job_id,
            type=job.job_type,
            queue=self._queue,
            attempt=job.attempt,
            args=args,
            payloads=payloads,
            heartbeat_details=details,
            lease_seconds=lease_seconds,
            timeout_seconds=timeout,
            workflow_id=row.workflow_id,
            run_id=row.run_id,
            enqueued_at=datetime.fromtimestamp(row.enqueued_at, UTC).isoformat().replace("+00:00", "Z"),
            call=told,
        )
        return Begun(token, body, lease_seconds)

    async def _read(self, job: Job, *, raw: bool) -> tuple[list[Raw] | None, list[RawPayload] | None, list[Raw]]:
        """Return the arguments in either form, and the details of the last heartbeat."""
        row = job.row
        if raw:
            details = payload_forms.as_values(raw_payloads(row.heartbeat_details or b""))
            return None, raw_payloads(row.input or b""), details
        if self._probes.applies(row.options) and (problem := await self._probes.problem(row.options)):
            raise UnreadablePayloadError(problem)
        codec = self._codec_of(row)
        data = await decode_payloads(row.input or b"", codec)
        beat = await decode_payloads(row.heartbeat_details or b"", codec)
        args, values = payload_forms.json_values(data), payload_forms.json_values(beat)
        if args is not None and values is not None:
            return args, None, values
        return None, raw_payloads(data), payload_forms.as_values(raw_payloads(beat))

    def _codec_of(self, row: Claimed) -> PayloadCodec | None:
        return self._conversions.of_row(row).codec

    def _refused(self, job: Job, reason: Reason, error: ApplicationError, problem: str = "") -> Ended:
        return Ended(job, failure=self._failure_of(error), refusal=reason, problem=problem)

    def unknown(self, job: Job) -> Ended:
        """Return the end of a job whose type no worker of this gateway runs."""
        error = ApplicationError(
            f"Activity function {job.job_type} for workflow {job.row.workflow_id or ''} is not registered on this "
            "gateway's workers",
            type="NotFoundError",
        )
        return Ended(job, failure=self._failure_of(error), refusal=Reason.UNKNOWN_TYPE)

    def _failure_of(self, error: ApplicationError) -> Failure:
        return within_limit(failure_of(error, self._converter))

    def running(self, row: Claimed, token: JobToken) -> Job:
        """Return the job of a row whose attempt runs at a worker.

        Args:
            row: the row, without arguments.
            token: what the worker has sent.

        Raises:
            EntryError: this release can't read the row.
        """
        job = Job(row)
        if job.too_new is not None or job.broken is not None:
            raise EntryError("unreadable", job.too_new or job.broken or "")
        if self._conversions.uses_contexts:
            job.conversion = self._conversions.of_row(row)
        job.taken_at = time.monotonic() - max(0.0, time.time() - token.started_ms / 1000)
        return job

    async def completed(self, job: Job, said: Completion) -> Ended:
        """Return the end of an attempt that has a result.

        Raises:
            EntryError: the result is too large, or can't be encoded.
        """
        if said.payloads is not UNSET:
            payloads, is_raw = payload_forms.of_raw(said.payloads), True
        else:
            payloads, is_raw = payload_forms.of_json([_value(said.result)]), False
        plain, stored = await self._forms(job, payloads, is_raw=is_raw)
        if max(len(plain), len(stored)) > MAX_OUTCOME_BYTES:
            raise EntryError("too-large", f"the result takes {len(stored)} bytes, over {MAX_OUTCOME_BYTES}")
        return Ended(job, result=plain, stored=stored)

    async def failed(self, job: Job, said: JobFailure) -> Ended:
        """Return the end of an attempt that failed, or was canceled.

        Raises:
            EntryError: it was not asked to stop, or the details can't be encoded.
        """
        if said.canceled:
            if not job.cancel_requested:
                raise EntryError("not-canceled", "the job was not asked to stop")
            return Ended(job, failure=canceled())
        beat = await self.details(job, UNSET, said.heartbeat)
        if beat is not None:
            job.details = self.payloads(beat[0])
        if said.timed_out is not None:
            job.timed_out = TIMEOUTS[said.timed_out]
            last = self.payloads(await self.earlier_details(job)) if job.details is None else job.details
            return Ended(job, failure=within_limit(timed_out(job.timed_out, last)))
        refusal = None if said.refused is None else Reason(said.refused)
        failure = (
            await self._failure(job, said) if said.failure is UNSET else await self._read_failure(job, said.failure)
        )
        return Ended(job, failure=within_limit(failure), refusal=refusal)

    async def _failure(self, job: Job, said: JobFailure) -> Failure:
        """Return the failure that a worker's fields describe."""
        failure = Failure(message=said.message, source=_SOURCE, stack_trace=said.stack_trace)
        info = failure.application_failure_info
        info.type, info.non_retryable = said.type, said.non_retryable
        details = await self.details(job, said.details, said.payloads)
        if details:
            info.details.payloads.extend(Payloads.FromString(details[0]).payloads)
        if said.next_retry_delay_seconds is not None:
            info.next_retry_delay.FromTimedelta(timedelta(seconds=said.next_retry_delay_seconds))
        return failure

    async def _read_failure(self, job: Job, data: bytes) -> Failure:
        """Return the failure that a worker has sent whole, with its payloads decoded."""
        try:
            failure = Failure.FromString(data)
        except DecodeError:
            raise EntryError("bad-failure", "`failure` is no serialized temporal.api.failure.v1.Failure") from None
        codec = self._codec_of(job.row)
        if codec is None:
            if await self._probes.problem(job.row.options):
                _leave_out_payloads(failure)
            return failure
        try:
            await codec.decode_failure(failure)
        except Exception as error:  # a codec may raise any error
            raise EntryError("unreadable", f"the payload codec raised {type(error).__name__}") from error
        return failure

    async def details(
        self, job: Job, values: list[Raw] | UnsetType, raw: list[RawPayload] | UnsetType
    ) -> tuple[bytes, bytes] | None:
        """Return details as serialized `Payloads`, plain and as they are stored; None: there are none.

        Raises:
            EntryError: they are too large, or can't be encoded.
        """
        if raw is not UNSET:
            forms = await self._forms(job, payload_forms.of_raw(raw), is_raw=True)
        elif values is not UNSET:
            forms = await self._forms(job, payload_forms.of_json(values), is_raw=False)
        else:
            return None
        if max(map(len, forms)) > MAX_OUTCOME_BYTES:
            raise EntryError("too-large", f"the details take more than {MAX_OUTCOME_BYTES} bytes")
        return forms

    async def _forms(self, job: Job, payloads: Sequence[Payload], *, is_raw: bool) -> tuple[bytes, bytes]:
        """Return payloads serialized, plain and in stored form."""
        codec = self._codec_of(job.row)
        data = payload_forms.serialized(payloads)
        if codec is None:
            if not is_raw and (problem := await self._probes.problem(job.row.options)):
                raise EntryError("unreadable", problem)
            return data, data
        try:
            return (await decode_payloads(data, codec), data) if is_raw else (data, await encode_payloads(data, codec))
        except Exception as error:  # a codec may raise any error
            raise EntryError("unreadable", f"the payload codec raised {type(error).__name__}") from error

    @staticmethod
    def payloads(data: bytes) -> list[Payload]:
        """Return the payloads in a serialized `Payloads`."""
        return list(Payloads.FromString(data).payloads)

    @staticmethod
    def overdue(job: Job, details: bytes) -> Ended:
        """Return the end of an attempt that has timed out.

        Args:
            job: the job.
            details: those of the last heartbeat, plain.
        """
        is_whole = job.row.deadline_ms is not None and job.row.deadline_ms <= 0
        timeout_type = TimeoutType.SCHEDULE_TO_CLOSE if is_whole else TimeoutType.START_TO_CLOSE
        job.timed_out = timeout_type
        return Ended(job, failure=within_limit(timed_out(timeout_type, Payloads.FromString(details).payloads)))

    async def earlier_details(self, job: Job) -> bytes:
        """Return the details of the last heartbeat, plain; empty if they can't be decoded."""
        try:
            return await decode_payloads(job.row.heartbeat_details or b"", self._codec_of(job.row))
        except Exception:  # a codec may raise any error; the timeout goes without its details
            return b""


def _leave_out_payloads(failure: Failure) -> None:
    """Leave out what is encoded, because no codec is here that decodes it, and the workflow expects it decoded."""
    failure.ClearField("encoded_attributes")
    if failure.HasField("application_failure_info"):
        failure.application_failure_info.ClearField("details")
    if failure.HasField("canceled_failure_info"):
        failure.canceled_failure_info.ClearField("details")
    if failure.HasField("timeout_failure_info"):
        failure.timeout_failure_info.ClearField("last_heartbeat_details")
    if failure.HasField("cause"):
        _leave_out_payloads(failure.cause)


def _value(result: Raw | UnsetType) -> Raw:
    return Raw(b"null") if result is UNSET else result


def _least_seconds(start_to_close: timedelta | None, deadline_ms: int | None) -> float | None:
    limits = [] if start_to_close is None else [start_to_close.total_seconds()]
    if deadline_ms is not None:
        limits.append(max(0.0, deadline_ms / 1000))
    return min(limits, default=None)
