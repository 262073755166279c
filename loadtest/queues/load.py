"""The load of a queue: how many jobs, and how they are enqueued."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from delegator.errors import ConfigurationError

NUMBER_DIGITS: Final = 8
"""Leading hexadecimal digits of a payload: the number of its job."""
WARM_UP_JOBS: Final = 500
"""Jobs, numbered after the others, that are run before the measured ones."""
_DEFAULT_JOBS: Final = 50_000
_DEFAULT_SECONDS: Final = 30.0
_MOST_JOBS: Final = 100_000_000
_MOST_PAYLOAD: Final = 1_000_000


class Mode(StrEnum):
    """How jobs are enqueued."""

    BULK = "bulk"
    """As fast as possible, while the worker runs."""
    BACKLOG = "backlog"
    """All of them first; then the worker starts."""
    STEADY = "steady"
    """At a fixed rate, whether the worker keeps up or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkLoad:
    """The load of one run."""

    mode: Mode
    """How jobs are enqueued."""
    jobs: int
    """How many."""
    payload_bytes: int = 100
    """Size of a job's payload."""
    rate: float | None = None
    """Steady: jobs enqueued in a second."""

    @classmethod
    def of(
        cls, *, jobs: int | None, payload_bytes: int, backlog: bool, rate: float | None, duration: float | None = None
    ) -> BulkLoad:
        """Read the command's options.

        Args:
            jobs: `--jobs`; None: the default.
            payload_bytes: `--payload-bytes`.
            backlog: `--backlog`.
            rate: `--rate`, jobs per second; None: as fast as possible.
            duration: `--duration`, in seconds; None: the default.

        Raises:
            ConfigurationError: they do not fit together.
        """
        if not NUMBER_DIGITS <= payload_bytes <= _MOST_PAYLOAD:
            raise ConfigurationError(
                f"--payload-bytes {payload_bytes}: must be from {NUMBER_DIGITS} to {_MOST_PAYLOAD}"
            )
        if jobs is not None and not 1 <= jobs <= _MOST_JOBS:
            raise ConfigurationError(f"--jobs {jobs}: must be from 1 to {_MOST_JOBS}")
        if rate is None:
            if duration is not None:
                raise ConfigurationError("--duration is the time of --rate: give --rate too, or --jobs instead")
            mode = Mode.BACKLOG if backlog else Mode.BULK
            return cls(mode=mode, jobs=jobs or _DEFAULT_JOBS, payload_bytes=payload_bytes)
        if backlog:
            raise ConfigurationError("--backlog and --rate: a backlog has no rate, so leave one of both out")
        if jobs is not None:
            raise ConfigurationError(
                "--jobs and --rate: the number of jobs is --rate times --duration, so leave --jobs out"
            )
        duration = _DEFAULT_SECONDS if duration is None else duration
        if rate <= 0 or duration <= 0 or not 1 <= round(rate * duration) <= _MOST_JOBS:
            raise ConfigurationError(
                f"--rate {rate:g} and --duration {duration:g} must be positive and make at least one job"
            )
        return cls(mode=Mode.STEADY, jobs=round(rate * duration), payload_bytes=payload_bytes, rate=rate)

    def payloads(self, begin: int, end: int) -> list[bytes]:
        """Return the payloads of jobs `begin` to `end - 1`: the job's number, then text that compresses badly."""
        rest = _noise(self.payload_bytes - NUMBER_DIGITS)
        return [b"%08x" % number + rest for number in range(begin, end)]


def number_of(payload: bytes) -> int:
    """Return the number of a payload's job."""
    return int(payload[:NUMBER_DIGITS], 16)


def _noise(size: int) -> bytes:
    digest = hashlib.shake_256(b"loadtest").digest(size)
    return base64.b64encode(digest)[:size]
