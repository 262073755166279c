"""Outcomes and failures of jobs in the form in which rows hold them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from temporalio.api.failure.v1 import Failure
from temporalio.converter import PayloadCodec

from delegator.errors import WireError
from delegator.wire.codec import decode_outcome, encode_outcome, encode_outcomes
from delegator.wire.outcomes import Outcome, OutcomeStatus
from http_workers.attempt import Ended
from http_workers.job import Job

_log = logging.getLogger(__name__)


class StoredForms:
    """Encodes outcomes with the codec of their jobs."""

    def __init__(self, codec: PayloadCodec | None) -> None:
        """Prepare.

        Args:
            codec: encodes payloads of jobs that have no conversion of their own.
        """
        self._codec = codec

    async def of(self, job: Job, outcome: Outcome) -> bytes:
        """Return an outcome of a job in its stored form.

        Raises:
            Exception: what the codec raises for a result.
        """
        return await encode_outcome(outcome, self._codec_of(job))

    async def of_all(self, waited: Sequence[tuple[Ended, Outcome]]) -> list[bytes]:
        """Return outcomes in their stored form. A result was encoded in its attempt already."""
        if self._codec is None:
            return await encode_outcomes([outcome for _, outcome in waited], None)
        return [
            ended.stored
            if ended.stored is not None and outcome.status is OutcomeStatus.COMPLETED
            else await self.of(ended.job, outcome)
            for ended, outcome in waited
        ]

    async def failure_in(self, job: Job, stored: bytes | None) -> Failure | None:
        """Return a stored failure of an earlier attempt; None: there is none, or it can't be read."""
        if stored is None:
            return None
        try:
            return Failure.FromString((await decode_outcome("failed", stored, self._codec_of(job))).body)
        except (WireError, DecodeError) as error:
            reason = str(error) if isinstance(error, WireError) else type(error).__name__
            _log.error("failure_unreadable", extra={"job_id": job.job_id, "reason": reason})
            return None

    def _codec_of(self, job: Job) -> PayloadCodec | None:
        return self._codec if job.conversion is None else job.conversion.codec
