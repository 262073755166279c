"""What this worker sends to the gateway, as the client's codec encodes it."""

from __future__ import annotations

import logging

from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, PayloadCodec

from delegator.wire.codec import encode_payloads, not_built
from delegator.wire.contexts import Conversions
from delegator.wire.raw_payloads import raw_payloads
from delegator.wire.worker_protocol import RawPayload
from http_workers.attempt import Ended
from http_workers.job import Job

_log = logging.getLogger(__name__)


class Stored:
    """Encodes heartbeat details, results and failures."""

    def __init__(self, converter: DataConverter) -> None:
        """Prepare.

        Args:
            converter: the data converter.
        """
        self._shared = Conversions(converter).shared

    def _codec_of(self, job: Job) -> PayloadCodec | None:
        return (self._shared if job.conversion is None else job.conversion).codec

    async def details(self, job: Job) -> list[RawPayload] | None:
        """Return the details of a job's last heartbeat; None: there was none, or they can't be encoded."""
        if job.details is None:
            return None
        try:
            data = await encode_payloads(Payloads(payloads=job.details).SerializeToString(), self._codec_of(job))
        except Exception as error:  # a codec may raise any error
            _log.error("heartbeat_not_stored", extra={"job_id": job.job_id, "reason": type(error).__name__})
            return None
        return raw_payloads(data or b"")

    @staticmethod
    def result(ended: Ended) -> list[RawPayload]:
        """Return the result of an attempt that has one."""
        return raw_payloads((ended.result if ended.stored is None else ended.stored) or b"")

    async def failure(self, job: Job, failure: Failure) -> bytes:
        """Return a failure serialized. One that can't be encoded is replaced, as by the SDK."""
        codec = self._codec_of(job)
        if codec is None:
            return failure.SerializeToString()
        encoded = Failure()
        encoded.CopyFrom(failure)
        try:
            await codec.encode_failure(encoded)
        except Exception as problem:  # a codec may raise any error
            encoded = not_built(problem)
        return encoded.SerializeToString()
